"""Which methods an address takes, for requests that match no route."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..problems import NOT_FOUND, Problem, ProblemKind
from .answers import Answer
from .request import Incoming


class Unmatched:
    """Answers requests that match none of the app's routes."""

    def __init__(self, routes: Iterable[tuple[str, str]]) -> None:
        """``routes`` are pairs of a method and a template such as ``threads/{thread_id}``."""
        self._routes = [(method, _pattern(template)) for method, template in routes]

    def methods(self, path: str) -> list[str]:
        """The methods that a path takes; none for an unknown path.

        As for the Functions host, letter case and a slash at the end do not matter.
        """
        path = path.removesuffix("/")
        return sorted(method for method, pattern in self._routes if pattern.fullmatch(path))

    async def answer(self, incoming: Incoming) -> Answer:
        """405 for a known path with another method, 404 for an unknown path."""
        problem, headers = NOT_FOUND, dict[str, str]()
        methods = self.methods(incoming.path.get("path", ""))
        if methods and incoming.request.method not in methods:
            allowed = ", ".join(methods)
            headers["Allow"] = allowed
            problem = Problem(
                ProblemKind.METHOD_NOT_ALLOWED,
                f"This address takes {allowed}.",
            )
        return Answer(problem.to_json(incoming.request_id), problem.status, headers)


def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\{[^}]*\\}", "[^/]+", re.escape(template)), re.IGNORECASE)
