"""The callbacks and reply queues that the settings allow."""

from __future__ import annotations

from collections.abc import Mapping

from yarl import URL

from ...config import CallbackHost, CallbackSettings, names_in
from ...problems import FieldError, Problem, ProblemError, ProblemKind
from ..requests import SubmitJob
from .webhooks import LOOPBACK


class CallbackPolicy:
    """The rules for callbacks and reply queues."""

    def __init__(self, settings: CallbackSettings) -> None:
        self._hosts = [CallbackHost.parse(entry) for entry in names_in(settings.callback_hosts)]
        self._can_sign = bool(settings.callback_secret)
        self._queues = set(names_in(settings.reply_queues))
        self._allow_loopback = settings.loopback_callbacks

    def requested(self, body: SubmitJob) -> dict[str, str]:
        """The callbacks that a job requests, by field.

        Raises:
            ProblemError: 422, if one of them is not allowed.
        """
        requested: dict[str, str] = {}
        errors: list[FieldError] = []
        for field, text, refusal in (
            ("callback_url", body.callback_url, self.refused_url),
            ("reply_queue", body.reply_queue, self.refused_queue),
        ):
            if text is None:
                continue
            requested[field] = text
            if reason := refusal(text):
                errors.append(FieldError(field, reason))
        if errors:
            raise ProblemError(_refusal(errors))
        return requested

    def allowed(self, requested: Mapping[str, str]) -> dict[str, str]:
        """The requested callbacks that are allowed, by field."""
        refusals = {"callback_url": self.refused_url, "reply_queue": self.refused_queue}
        return {field: text for field, text in requested.items() if not refusals[field](text)}

    def refused_url(self, text: str) -> str | None:
        """Why a callback address is refused; None if it is allowed."""
        try:
            url = URL(text)
            port = url.port
        except ValueError:
            return "is not an address"
        if self._allow_loopback and url.scheme == "http" and url.host == LOOPBACK:
            return None if self._can_sign else "cannot be signed; CALLBACK_SECRET is not set"
        if url.scheme != "https" or not url.host or url.user or url.password or url.fragment:
            return "must be an https address without user name and fragment"
        if not any(host.matches(url.raw_host or "", port) for host in self._hosts):
            return "has a host that is not among CALLBACK_HOSTS"
        return None if self._can_sign else "cannot be signed; CALLBACK_SECRET is not set"

    def refused_queue(self, name: str) -> str | None:
        """Why a reply queue is refused; None if it is allowed."""
        return None if name in self._queues else "is not among REPLY_QUEUES"


def _refusal(errors: list[FieldError]) -> Problem:
    listed = "; ".join(f"{error.field} {error.reason}" for error in errors)
    return Problem(ProblemKind.CALLBACK_REFUSED, f"{listed}.", errors=tuple(errors))
