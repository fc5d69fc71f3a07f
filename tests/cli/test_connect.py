"""`aos connect`, `aos mcp` and `aos completion`: what other programs read."""

import json
import subprocess
import tomllib

import pytest

from tests.support.leaks import leaks
from tests.support.terminal import Aos

MODEL = "llama-3.3-70b"


@pytest.mark.parametrize("columns", [120, 40])
@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["connect", "codex"], "[model_providers.aos]"),
        (["connect", "opencode"], "@ai-sdk/openai-compatible"),
        (["connect", "aider"], "export OPENAI_API_BASE="),
        (["connect", "openai"], "export OPENAI_BASE_URL="),
        (["mcp", "add", "vscode"], "${input:aos-key}"),
        (["mcp", "add", "claude"], "claude mcp add --transport http agents"),
    ],
)
def test_a_configuration_has_the_address_and_no_key(
    aos: Aos, arguments: list[str], shown: str, columns: int
) -> None:
    result = aos.run(*arguments, columns=columns)
    assert result.code == 0
    assert shown in result.plain
    assert f"{aos.url}/api/" in result.plain
    assert leaks(result.out) == []


def test_variables_lead_a_shell_to_the_app(aos: Aos) -> None:
    script = aos.pipe("connect", "openai").out
    command = f'{script}echo "$OPENAI_BASE_URL $OPENAI_API_KEY"'
    done = subprocess.run(  # noqa: S603
        ["/bin/sh", "-c", command], env=aos.environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [f"{aos.url}/api/v1", aos.more["AOS_KEY"]]


def test_files_are_written_beside_what_is_there(aos: Aos) -> None:
    codex = aos.folder / ".codex/config.toml"
    codex.parent.mkdir()
    codex.write_text('model = "mine"\n')
    assert aos.pipe("connect", "codex", "--write").code == 0
    written = tomllib.loads(codex.read_text())
    assert written["model"] == "mine"
    assert written["model_providers"]["aos"]["base_url"] == f"{aos.url}/api/v1"
    again = aos.pipe("connect", "codex", "--write")
    assert (again.code, "already" in again.err) == (2, True)
    assert aos.pipe("connect", "aider", "--write").code == 2


def test_documents_are_merged_and_others_left_alone(aos: Aos) -> None:
    path = aos.folder / ".vscode/mcp.json"
    path.parent.mkdir()
    path.write_text('{"servers": {"other": {}}, "inputs": [{"id": "x"}]}')
    for _ in range(2):
        assert aos.pipe("mcp", "add", "vscode", "--write").code == 0
    document = json.loads(path.read_text())
    assert set(document["servers"]) == {"other", "agents"}
    assert [each["id"] for each in document["inputs"]] == ["x", "aos-key"]
    path.write_text("{} // with a comment")
    refused = aos.pipe("mcp", "add", "vscode", "--write")
    assert (refused.code, path.read_text()) == (2, "{} // with a comment")


def test_a_function_key_goes_in_its_own_header(aos: Aos) -> None:
    user = Aos(aos.folder, aos.url, {"AOS_KEY": "function-key"})
    codex = tomllib.loads(user.pipe("connect", "codex", "-m", MODEL).out)
    provider = codex["model_providers"]["aos"]
    assert provider["env_http_headers"] == {"x-functions-key": "AOS_KEY"}
    claude = user.pipe("mcp", "add", "claude").out
    assert '--header "x-functions-key: ${AOS_KEY}"' in claude


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("aos jo", "jobs"),
        ("aos jobs sub", "submit"),
        ("aos mcp ", "add"),
        ("aos chat --mo", "--model"),
    ],
)
def test_a_shell_completes_commands(aos: Aos, words: str, completed: str) -> None:
    place = len(words.split(" ")) - 1
    asked = {"_AOS_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(place)}
    assert completed in Aos(aos.folder, aos.url, asked).pipe().out.split()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_the_script_of_a_shell(aos: Aos, shell: str) -> None:
    script = aos.pipe("completion", shell)
    assert script.code == 0
    assert "_AOS_COMPLETE" in script.out
    if shell == "bash":
        subprocess.run(["/bin/bash", "-n"], input=script.out, text=True, check=True)
