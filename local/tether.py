"""Runs a command that the kernel ends with its parent: `tether.py PARENT_PID COMMAND...` (Linux).

A launcher that is killed cannot stop its children itself. This is a separate program because a hook
between fork and exec is not safe in a process with threads.
"""

import ctypes
import os
import signal
import sys

# <linux/prctl.h>: sets the signal for the parent's end, which survives exec.
PR_SET_PDEATHSIG = 1


def main() -> None:
    """Request SIGTERM for the parent's end, then replace this process with the command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM) != 0:
        sys.exit(os.strerror(ctypes.get_errno()))
    if os.getppid() != parent:
        sys.exit("the parent ended before its child began")
    os.execvp(command[0], command)  # noqa: S606 (becoming the command is the purpose)


if __name__ == "__main__":
    main()
