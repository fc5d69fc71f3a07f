"""Writes the page of the command line from the commands: `python -m cli.reference >docs/cli.md`."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator

from .errors import ExitCode
from .main import SECTIONS, help_text, main, section
from .problems import ADVICE

COLUMNS = "100"
"""The width of the terminal for which the help is made."""

_INTRODUCTION = """\
# The command line

<!-- Written by `make commands`, from the commands themselves. -->

`aos` asks agents, watches jobs, and shows what they use and cost, over the [HTTP API](http-api.md).

```console
pip install ".[cli]"
aos login --url https://<app>.azurewebsites.net
aos chat "What is a leap year?"
```

In a checkout, `python -m cli` is the same command without an installation.

## Which app, and as whom

| | first | then | then | else |
|---|---|---|---|---|
| address | `--url` | `AOS_URL` | the profile | `http://localhost:7071` |
| key | `--key` | `AOS_KEY` | the profile, for its own address only | none |
| profile | `--profile` | `AOS_PROFILE` | the last `aos login` | `default` |

Profiles are in `config.toml` in `$XDG_CONFIG_HOME/aos`, by default `~/.config/aos`. Keys are in
the system's keyring if the package `keyring` is installed and works, else in `keys.json` beside it,
which only you can read. A [client key](keys.md) or a token goes out as a bearer, any other key as
`x-functions-key`; to another machine, only over https. `aos login --entra SCOPE` sends tokens of
the user of the Azure CLI instead.

Some commands need the app's storage or Foundry itself, not its HTTP API, and stay with the app: the
[first client key](keys.md#the-first-key), [agents from files](tools.md), the
[secret of a callback's receiver](jobs.md#callbacks-and-replies) and the
[rebuilding of metrics](operate.md).

## Output

Results go to standard output: on a terminal as a table, or below each other where it is too narrow;
elsewhere as JSON. `-o table`, `-o json`, `-o jsonl` and `-o csv` choose. `aos chat` prints the text
of the answer. Notes, progress and errors go to standard error. Text of the app is printed on a
terminal without control characters, and in JSON they are escaped. `NO_COLOR` turns colours off.

An error is one line with the code and the request id, and one with what to do:

```text
error: Another turn runs on this thread (thread_busy, req_01M8MM9S0X)
Wait for the other turn: --wait 100
```

## Exit codes
"""


def page() -> str:
    """The whole page."""
    return "".join(_parts())


def _parts() -> Iterator[str]:
    yield _INTRODUCTION
    yield "\n| code | means |\n|---|---|\n"
    yield from (f"| {code.value} | {code.meaning} |\n" for code in ExitCode)
    yield "\nWhat to do about a problem of the app, by its [code](http-api.md#problems):\n"
    yield "\n| code | advice |\n|---|---|\n"
    yield from (f"| `{code}` | {_marked(advice)} |\n" for code, advice in sorted(ADVICE.items()))
    yield f"\n## Commands\n\n```text\n{help_text().rstrip()}\n```\n"
    for name, (_, summary) in SECTIONS.items():
        yield f"\n## aos {name}\n\n{summary}.\n"
        for command in _commands(name):
            yield f"\n```text\n{_help(command)}\n```\n"


def _marked(advice: str) -> str:
    text, sign, command = advice.partition(": ")
    return f"{text}{sign}`{command}`" if sign else text


def _commands(name: str) -> list[list[str]]:
    """The commands of a section, as arguments."""
    names = [each.name for each in section(name).registered_commands]
    return [[name]] if names == [name] else [[name, str(each)] for each in names]


def _help(command: list[str]) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        main([*command, "--help"])
    return "\n".join(line.rstrip() for line in printed.getvalue().strip().splitlines())


if __name__ == "__main__":
    os.environ["COLUMNS"] = COLUMNS
    sys.stdout.write(page())
