"""Which routes there are, for requests that match none of them."""

from __future__ import annotations

import re
from http import HTTPStatus

from ..app import Services
from ..problems import NOT_FOUND, Problem
from .request import Incoming
from .serve import Answer


class RouteTable:
    """The routes of the app, each a method and a template such as ``threads/{thread_id}``."""

    def __init__(self) -> None:
        self._routes: list[tuple[str, re.Pattern[str]]] = []

    def add(self, method: str, template: str) -> None:
        """Register a route."""
        pattern = re.sub(r"\\{[^}]*\\}", "[^/]+", re.escape(template))
        self._routes.append((method, re.compile(pattern, re.IGNORECASE)))

    def methods(self, path: str) -> list[str]:
        """The methods that a path takes; none for an unknown path.

        As for the Functions host, letter case and a slash at the end do not matter.
        """
        path = path.removesuffix("/")
        return sorted(method for method, pattern in self._routes if pattern.fullmatch(path))

    async def unmatched(self, _: Services, incoming: Incoming) -> Answer:
        """405 for a known path with another method, 404 for an unknown path."""
        problem, headers = NOT_FOUND, dict[str, str]()
        methods = self.methods(incoming.path.get("path", ""))
        if methods and incoming.request.method not in methods:
            allowed = ", ".join(methods)
            headers["Allow"] = allowed
            problem = Problem(
                HTTPStatus.METHOD_NOT_ALLOWED,
                "method_not_allowed",
                f"This address takes {allowed}.",
            )
        return Answer(problem.to_json(incoming.request_id), problem.status, headers)
