"""The Bicep compiler, one process of it for many questions, and none for those asked before.

It speaks JSON-RPC on its standard streams, framed as in the language server protocol
(`bicep jsonrpc --stdio`); a question takes 0.3 s, a process of its own for it would take two.
What it answers depends on itself, the question and the files of the folder; answers are kept
between runs under a digest of these.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Self

from .kept import KeptAnswers

GRAPH_EXTENSION = "TESTS_GRAPH_EXTENSION"
"""Variable with the path of the Microsoft Graph extension, where its registry is out of reach."""
REQUIRED = "TESTS_REQUIRE_BICEP"
"""Variable that turns a missing compiler from a reason to skip into a failure, for CI."""
HOW_TO_GET_ONE = "there is no Bicep compiler: `az bicep install` gets one, or set BICEP to its path"

NOT_FETCHED = ("BCP190", "BCP192")
"""What the compiler says when an extension did not arrive: the network's fault, not kept."""

PLACE = {
    "tenantId": "00000000-0000-0000-0000-00000000000a",
    "subscriptionId": "00000000-0000-0000-0000-00000000000b",
    "location": "westeurope",
    "deploymentName": "main",
}
"""Where the predicted deployments go."""


def find_bicep() -> str | None:
    """The compiler that BICEP names, or that is on the PATH, or that az or azd installed."""
    if named := os.environ.get("BICEP"):
        return named
    homes = [Path.home() / ".azure" / "bin", Path.home() / ".azd" / "bin"]
    return shutil.which("bicep", path=os.pathsep.join([os.environ["PATH"], *map(str, homes)]))


@dataclass(frozen=True)
class Diagnostic:
    """One thing that the compiler says about a file."""

    file: str
    line: int
    code: str
    message: str

    def __str__(self) -> str:
        """The line that `bicep build` would print, without the file's folder."""
        return f"{self.file}({self.line}): {self.code}: {self.message}"


class CompilerError(Exception):
    """The compiler refused a file; the text is what it said."""


class Bicep:
    """A running compiler."""

    def __init__(self, executable: str) -> None:
        self.executable = executable
        self._last_id = 0
        self._answers = Answers(executable)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if "_process" in vars(self):
            self._input.close()
            self._process.wait(10)
            self._output.close()

    @cached_property
    def _process(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 (the compiler that was found)
            [self.executable, "jsonrpc", "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def compile(self, path: Path) -> tuple[dict[str, Any], list[Diagnostic]]:
        """The ARM template of a Bicep file, empty where it does not compile, and what was said."""
        answer = self._ask("bicep/compile", {"path": str(path)})
        return json.loads(answer.get("contents") or "{}"), _diagnostics(answer)

    def parameters(self, path: Path) -> dict[str, Any]:
        """The values of a parameters file.

        Raises:
            CompilerError: where it does not compile.
        """
        answer = self._ask("bicep/compileParams", {"path": str(path), "parameterOverrides": {}})
        if not answer["success"]:
            raise CompilerError("\n".join(map(str, _diagnostics(answer))))
        return {k: v["value"] for k, v in json.loads(answer["parameters"])["parameters"].items()}

    def snapshot(self, path: Path) -> dict[str, Any]:
        """What a parameters file would deploy: the engine that azd asks before each deployment.

        Raises:
            CompilerError: where it does not compile.
        """
        request = {"path": str(path), "metadata": PLACE, "externalInputs": []}
        try:
            text = self._ask("bicep/getSnapshot", request)["snapshot"]
        except CompilerError:
            self.parameters(path)  # says what is wrong, which the snapshot does not
            raise
        snapshot: dict[str, Any] = json.loads(text)
        return snapshot

    def format(self, path: Path) -> str:
        """A file as the formatter writes it."""
        return str(self._ask("bicep/format", {"path": str(path)})["contents"])

    def run(
        self, command: str, path: Path, *options: str, environment: Mapping[str, str] | None = None
    ) -> tuple[int, str, str]:
        """One command in a process of its own, as azd runs it: exit code, output and errors."""

        def ask() -> Any:
            done = subprocess.run(  # noqa: S603 (the compiler that was found)
                [self.executable, command, str(path), *options],
                env={**os.environ, **(environment or {})},
                capture_output=True,
                text=True,
                check=False,
            )
            return done.returncode, done.stdout, done.stderr

        code, out, err = self._answers.get(path, [command, *options, environment], ask)
        return code, out, err

    @property
    def _input(self) -> IO[bytes]:
        assert self._process.stdin
        return self._process.stdin

    @property
    def _output(self) -> IO[bytes]:
        assert self._process.stdout
        return self._process.stdout

    def _ask(self, method: str, request: dict[str, Any]) -> dict[str, Any]:
        path = Path(request["path"])
        asked = [method, {**request, "path": path.name}]
        answer = self._answers.get(path, asked, lambda: self._ask_process(method, request))
        if error := answer.get("error"):
            raise CompilerError(error["message"])
        result: dict[str, Any] = answer["result"]
        return result

    def _ask_process(self, method: str, request: dict[str, Any]) -> Any:
        self._last_id += 1
        message = {"jsonrpc": "2.0", "id": self._last_id, "method": method, "params": request}
        body = json.dumps(message).encode()
        self._input.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        self._input.flush()
        answer = json.loads(self._read())
        while answer.get("id") != self._last_id:  # to a question whose test ran out of time
            answer = json.loads(self._read())
        return answer

    def _read(self) -> bytes:
        length = 0
        while line := self._output.readline().strip():
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        return self._output.read(length)


class Answers:
    """What one compiler answered, by the question and the files it was about."""

    def __init__(self, executable: str) -> None:
        with Path(executable).open("rb") as program:
            self._compiler = hashlib.file_digest(program, "sha256").hexdigest()
        self._kept = KeptAnswers("bicep")

    def get(self, path: Path, question: object, ask: Callable[[], Any]) -> Any:
        """The kept answer to a question about a file, or what ``ask`` answers now."""
        return self._kept.get(self._digest(path, question), ask, is_final=_has_all_extensions)

    def _digest(self, path: Path, question: object) -> str:
        digest = hashlib.sha256(json.dumps([self._compiler, path.name, question]).encode())
        own = path.name.split(".")[0]
        for file in sorted(path.parent.rglob("*")):
            generated = file.name.endswith((".bicepparam", ".snapshot.json"))  # of other questions
            if file.is_file() and (not generated or file.name.split(".")[0] == own):
                content = file.read_bytes()
                digest.update(f"{file.relative_to(path.parent)} {len(content)} ".encode())
                digest.update(content)
        return digest.hexdigest()


def _has_all_extensions(text: str) -> bool:
    return not any(code in text for code in NOT_FETCHED)


def _diagnostics(answer: dict[str, Any]) -> list[Diagnostic]:
    return [
        Diagnostic(Path(d["source"]).name, d["range"]["start"]["line"] + 1, d["code"], d["message"])
        for d in answer["diagnostics"]
    ]
