"""`aos doctor`: what does not work, and the command that fixes it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from .api import JsonObject
from .commands import Session, command, new_app
from .errors import CommandError, NotSignedInError
from .output import at
from .target import is_local

app = new_app("Find out what does not work, and how to fix it.")

MAX_SKEW_SECONDS = 120.0
"""Tokens and schedules suffer from a clock that is further off."""

OK, WARNING, FAILED, SKIPPED = "ok", "warning", "failed", "skipped"

COLUMNS = (at("check"), at("status"), at("detail"), at("fix"))

_SETTING = re.compile(r"\b[A-Z][A-Z0-9]+(?:_[A-Z0-9]+)+\b", re.ASCII)
_ROLE = re.compile(r"'?(Storage \w+ Data Contributor|Azure AI \w+|Foundry \w+)'?")


@dataclass(frozen=True)
class Finding:
    """What a check found."""

    check: str
    status: str
    detail: str = ""
    fix: str = ""

    def to_json(self) -> JsonObject:
        """The finding for programs."""
        return {"check": self.check, "status": self.status, "detail": self.detail, "fix": self.fix}


@command(app, "doctor")
def doctor(session: Session) -> None:
    """Check address, clock, key, roles, settings, dependencies and queues of the app.

    Fails if a check failed. Only admins and the operator see details of the app's dependencies.
    """
    findings = list(_findings(session))
    session.output.items((finding.to_json() for finding in findings), COLUMNS)
    failed = [finding.check for finding in findings if finding.status == FAILED]
    if failed:
        raise CommandError(f"these checks failed: {', '.join(failed)}")


def _findings(session: Session) -> Iterator[Finding]:
    """All checks; the later ones need what the first ones find."""
    target, api = session.target, session.api
    source = f", key from {target.key_from}" if target.key_from else ", no key"
    yield Finding("profile", OK, f"{target.profile}{source}")
    try:
        skew = api.clock_skew()
    except CommandError as error:
        fix = "make run" if is_local(target.url) else "aos login --url URL"
        yield Finding("address", FAILED, str(error), fix)
        return
    yield Finding("address", OK, target.url)
    yield _clock(skew)
    try:
        me = api.get("me")
    except CommandError as error:
        is_key = isinstance(error, NotSignedInError)
        yield Finding("key", FAILED, str(error), "aos login" if is_key else "aos whoami")
        return
    roles = cast(list[str], me.get("roles", []))
    yield Finding("key", OK, f"{me.get('how')}, owner {me.get('owner')}")
    yield _roles(roles)
    yield from _budgets(cast(list[JsonObject], me.get("budgets", [])))
    yield from _checks(session)
    yield from _models(api.get("models"))


def _clock(skew: float) -> Finding:
    if abs(skew) <= MAX_SKEW_SECONDS:
        return Finding("clock", OK, f"{abs(skew):.0f} s apart")
    side = "ahead of" if skew > 0 else "behind"
    detail = f"the clock here is {abs(skew):.0f} s {side} the app's"
    return Finding("clock", WARNING, detail, "sudo timedatectl set-ntp true")


def _roles(roles: list[str]) -> Finding:
    if roles:
        return Finding("roles", OK, ", ".join(roles))
    return Finding("roles", WARNING, "no role; the app may refuse requests", "aos whoami")


def _budgets(budgets: list[JsonObject]) -> Iterator[Finding]:
    for budget in budgets:
        if cast(float, budget.get("left", 1)) <= 0:
            detail = f"{budget['subject']} has no {budget['of']} left"
            yield Finding("budget", WARNING, detail, "aos budgets")


def _checks(session: Session) -> Iterator[Finding]:
    """The app's own checks of what it needs."""
    document = session.api.readiness()
    for name, check in cast(dict[str, JsonObject], document.get("checks", {})).items():
        detail = str(check.get("detail") or "")
        if not detail and (seconds := cast(dict[str, float], check.get("oldest_seconds", {}))):
            detail = f"the oldest message waits for {max(seconds.values()):.0f} s"
        status = str(check.get("status"))
        yield Finding(name, status, detail, "" if status == OK else _fix(name, detail))


def _models(catalogue: JsonObject) -> Iterator[Finding]:
    for entry in cast(list[JsonObject], catalogue.get("data", [])):
        circuit = cast(JsonObject, entry.get("breaker") or {}).get("circuit")
        is_default = entry.get("model_type") == catalogue.get("default")
        name = f"model {entry.get('model_type')}"
        if entry.get("is_available"):
            status = OK if circuit == "closed" else WARNING
            yield Finding(name, status, "" if status == OK else f"its circuit is {circuit}")
        elif is_default:
            detail = str(entry.get("unavailable") or "unavailable")
            yield Finding(name, FAILED, detail, _fix(name, detail))
        else:
            yield Finding(name, SKIPPED, str(entry.get("unavailable") or "not configured"))


def _fix(check: str, detail: str) -> str:
    """The command that fixes what a detail is about: a role, a setting, or a queue."""
    if role := _ROLE.search(detail):
        return f'az role assignment create --role "{role[1]}" --assignee IDENTITY --scope RESOURCE'
    if check == "poison":
        return "az storage message peek --queue-name QUEUE-poison"
    if names := _SETTING.findall(detail):
        return f"azd env set {names[0]} VALUE && azd provision"
    return "aos jobs ls --status queued" if check == "queues" else ""
