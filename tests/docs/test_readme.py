"""The README shows what `make run` and `make test` print, and the commands of the screen."""

import re
import tomllib
from dataclasses import replace
from textwrap import dedent

from local.run import LocalRun, parse_arguments
from local.screen import render
from local.services import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
PRINTED, CHECKED = re.findall(r"```text\n(.*?)```", README, re.DOTALL)
COMMANDS = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
STATE = "/home/ada/agents/.local"
KEY = "aos_7k2m9x4q0b_..."


def screen() -> str:
    """What `make run` prints when nothing is configured, in a checkout at /home/ada/agents."""
    running = LocalRun(parse_arguments([]), {}).running
    here = replace(running, host="python -m local.host", state=STATE, logs=f"{STATE}/logs", key=KEY)
    return render(here, 5.2)


def test_the_screen_of_make_run_is_in_the_readme() -> None:
    assert screen().startswith(f"\n{PRINTED}")


def test_the_commands_of_the_readme_are_those_that_make_run_suggests() -> None:
    suggested = re.findall(r"^  \d\. .*\n((?: {5}.*\n)+)", screen(), re.MULTILINE)
    first, *asking, last = COMMANDS
    assert (first, last) == ("make run\n", "make test\n")
    assert asking == [dedent(commands) for commands in suggested]


def test_the_lines_of_make_test_count_what_there_is() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = len(project["tool"]["importlinter"]["contracts"])
    assert f"Contracts: {contracts} kept, 0 broken." in CHECKED
