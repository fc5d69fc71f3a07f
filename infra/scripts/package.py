"""Builds the deployment package: `python3 -m infra.scripts.package`.

The package holds the files that git tracks and `.funcignore` leaves in. The same files give the
same bytes, so two packages can be compared. Standard library and git only.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time in a zip file."""


def packaged_files(root: Path = ROOT, funcignore: Path | None = None) -> list[str]:
    """The files of the package, relative to `root`; git reads `.funcignore` like `.gitignore`."""
    rules = funcignore or root / ".funcignore"
    ignored = _tracked(root, "--cached", "--ignored", f"--exclude-from={rules}")
    return sorted(_tracked(root) - ignored)


def build(output: Path, root: Path = ROOT) -> list[str]:
    """Write the package and return its files."""
    files = packaged_files(root)
    output.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as package:
        for name in files:
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            package.writestr(entry, (root / name).read_bytes())
    return files


def _tracked(root: Path, *options: str) -> set[str]:
    command = ["git", "ls-files", "-z", *options]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)  # noqa: S603 (a fixed command)
    return set(done.stdout.split("\0")) - {""}


def main() -> int:
    """Build the package, or list its files with `--dry-run`."""
    parser = argparse.ArgumentParser(prog="python3 -m infra.scripts.package", description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "dist" / "app.zip")
    parser.add_argument("--dry-run", action="store_true", help="list the files and write nothing")
    arguments = parser.parse_args()
    files = packaged_files() if arguments.dry_run else build(arguments.output)
    total = sum((ROOT / name).stat().st_size for name in files)
    out = sys.stdout.write
    out("".join(f"{(ROOT / name).stat().st_size:>8}  {name}\n" for name in files))
    out(f"{total:>8}  in {len(files)} files\n")
    if not arguments.dry_run:
        out(f"{arguments.output.stat().st_size:>8}  {arguments.output}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
