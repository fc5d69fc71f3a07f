"""Torture: a fleet of real workers that are killed, lied to and woken again and again.

    make torture
    python -m tests.torture --jobs 500 --lanes 40 --kills 3 --seed 7

Four workers on the local host share Azurite and the Foundry emulator. Foundry fails, wake-ups
come several times, the workers' clocks disagree, and workers are killed with SIGKILL. In the end
an audit of the stored conversations and tables counts what must not be: anything but zeros.
"""
