"""Installs what `make run` and `make test` need: `python3 -m local.bootstrap run|test`.

Runs on the system's Python with nothing but the standard library. It may be started by a Python
too old for the rest of the code, so the imports that need a newer one wait for the version check.
"""

import sys

OLDEST_PYTHON = (3, 11)


def main() -> int:
    """Install for the purpose named on the command line; return 0, or 1 after one clear line."""
    if sys.version_info < OLDEST_PYTHON:
        sys.stderr.write(
            f"Python 3.11 or newer is needed, and this is {sys.version.split()[0]}. "
            "Install a newer one and name it: make run PYTHON=python3.12\n"
        )
        return 1
    from local.install import InstallError, install

    if sys.argv[1:] not in (["run"], ["test"]):
        sys.stderr.write("usage: python3 -m local.bootstrap run|test\n")
        return 2
    try:
        install(sys.argv[1])
    except InstallError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped. Run the same command again to go on.\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
