"""The agents command: usage, help, and the question before a deletion."""

from __future__ import annotations

import pytest

from shared.commands.agents import main


@pytest.mark.parametrize(
    "arguments", [[], ["apply"], ["show", "a b"], ["show", "a:"], ["show", ""], ["fly"]], ids=str
)
def test_wrong_usage_is_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: python -m shared.commands.agents" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["", "apply", "show", "list", "delete"])
def test_help_is_there(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*command.split(), "--help"])
    assert caught.value.code == 0
    assert f"usage: python -m shared.commands.agents {command}" in capsys.readouterr().out


class Keyboard:
    """A terminal on which one line is typed."""

    def __init__(self, line: str) -> None:
        self._line = line

    def isatty(self) -> bool:
        return True

    def readline(self) -> str:
        return self._line


@pytest.mark.parametrize(("typed", "said"), [("n\n", "nothing deleted"), ("\n", "nothing deleted")])
def test_delete_asks_and_takes_no_for_an_answer(
    typed: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.stdin", Keyboard(typed))
    assert main(["delete", "support"]) == 1
    shown = capsys.readouterr()
    assert "Delete support with all its versions? [y/N]" in shown.out
    assert said in shown.err


def test_yes_goes_on_to_delete(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", Keyboard("yes\n"))
    monkeypatch.delenv("FOUNDRY_AGENT_SERVICE_ENDPOINT", raising=False)
    assert main(["delete", "support:2"]) == 1
    shown = capsys.readouterr()
    assert "Delete support:2? [y/N]" in shown.out
    assert "endpoint URL not configured" in shown.err
