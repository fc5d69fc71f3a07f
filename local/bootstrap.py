"""Installs what `make run` and `make test` need: `python3 -m local.bootstrap run|test`.

Runs on the system's Python with the standard library only. That Python may be too old for the rest
of the code, so imports that need a newer one come after the version check.
"""

import sys

OLDEST_PYTHON = (3, 11)


def main() -> int:
    """Install for the purpose on the command line; return 0, or 1 after a one-line error."""
    if sys.version_info < OLDEST_PYTHON:
        sys.stderr.write(
            f"Python 3.11 or newer is needed, and this is {sys.version.split()[0]}. "
            "Install a newer one and choose it: make run PYTHON=python3.12\n"
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
        sys.stderr.write("\nStopped. Run the same command again to continue.\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
