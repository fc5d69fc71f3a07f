"""Answers of slow programs about files, kept between runs and for all checkouts of the machine."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from time import time
from typing import Any

from tests.support.environments import cache_folder, only_one

KEPT_DAYS = 14
"""How long an answer is kept that no run asks for."""


class KeptAnswers:
    """The JSON answers of one program, each under a digest of all that it depends on."""

    def __init__(self, program: str) -> None:
        self._folder = cache_folder() / program
        self._folder.mkdir(parents=True, exist_ok=True)
        for answer in self._folder.iterdir():
            if answer.stat().st_mtime < time() - KEPT_DAYS * 86_400:
                answer.unlink(missing_ok=True)

    def get(
        self, digest: str, ask: Callable[[], Any], *, is_final: Callable[[str], bool] | None = None
    ) -> Any:
        """The kept answer, or what ``ask`` answers now; that is kept if its text is final."""
        kept = self._folder / digest
        with only_one(kept.with_suffix(".lock")):  # the processes beside this one wait for it
            if kept.exists():
                kept.touch()
                return json.loads(kept.read_text())
            answer = ask()
            text = json.dumps(answer)
            if is_final is None or is_final(text):
                written = kept.with_suffix(f".{os.getpid()}")
                written.write_text(text)
                written.replace(kept)
            return answer
