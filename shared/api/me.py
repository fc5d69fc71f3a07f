"""`/me`: who the caller is and what is left of its budgets, and erasing all its data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from ..config import AuthMode
from ..config.departments import Departments
from ..config.spending import Period
from ..documents import Document
from ..http.answers import Answer
from ..http.principal import Role
from ..http.request import Incoming
from ..metering.budgets.account import BudgetUse
from ..metering.budgets.budgets import Budgets
from ..metering.budgets.limits import Measure
from ..metering.owner_limits import LimitUse, OwnerLimit, OwnerLimits
from ..threads.erasure import Erasures


class BudgetUseDocument(Document):
    """A budget and how much of it is in use, on all instances."""

    subject: str
    """`owner:...`, `department:...` or `key:...`, the id of a client key."""
    of: Measure
    per: Period | None
    """Null for a budget of concurrent turns."""
    limit: float
    used: float
    """By turns that have ended."""
    reserved: float
    """For turns that run, and a little for the next turns of other instances."""
    left: float
    resets_at: str | None


class LimitUseDocument(Document):
    """A limit of an owner on one instance, and how much of it is in use."""

    limit: int
    used: int
    left: int


class LimitsDocument(Document):
    """The limits of an owner, which each instance counts by itself."""

    requests: LimitUseDocument
    """Requests that are answered at once, this one included."""
    waits: LimitUseDocument
    """Requests that wait."""
    new_threads: LimitUseDocument
    """Threads started within a minute."""


class MeDocument(Document):
    """The caller of the request."""

    owner: str
    """To whom everything stored belongs; the owner that an admin names."""
    subject: str
    """The caller: an Entra object id, a client key as `key:<key id>`, or `key` or `anonymous`."""
    actor: str
    """The client application that the caller uses, or the label of its client key."""
    tenant: str | None
    how: AuthMode
    """How the caller is authenticated: by a function key, by Entra, by a client key, or not at
    all."""
    roles: list[Role]
    departments: list[str]
    """The departments of the owner; a message may state one of them."""
    budgets: list[BudgetUseDocument]
    limits: LimitsDocument


@dataclass(frozen=True, slots=True)
class MeApi:
    """Handlers of `/me`."""

    budgets: Budgets
    departments: Departments
    limits: OwnerLimits

    async def show(self, incoming: Incoming) -> Answer:
        """The caller, with one storage read for each budget that applies, all at once."""
        principal, owner = incoming.principal, incoming.owner
        departments = self.departments.known(owner, principal.departments)
        budgets = await self.budgets.use(owner, departments, principal.terms)
        document: MeDocument = {
            "owner": owner,
            "subject": principal.subject,
            "actor": principal.actor,
            "tenant": principal.tenant,
            "how": principal.how,
            "roles": sorted(principal.roles),
            "departments": departments,
            "budgets": [_budget(use) for use in budgets],
            "limits": _limits(self.limits.use(owner)),
        }
        return Answer({**document})


def _budget(use: BudgetUse) -> BudgetUseDocument:
    limit = use.limit
    return {
        "subject": limit.subject,
        "of": limit.measure,
        "per": limit.period,
        "limit": limit.shown(limit.amount),
        "used": limit.shown(use.used),
        "reserved": limit.shown(use.reserved),
        "left": limit.shown(use.left),
        "resets_at": use.resets_at.isoformat(timespec="seconds") if use.resets_at else None,
    }


def _limits(uses: Mapping[OwnerLimit, LimitUse]) -> LimitsDocument:
    return {
        "requests": _limit(uses[OwnerLimit.REQUESTS]),
        "waits": _limit(uses[OwnerLimit.WAITS]),
        "new_threads": _limit(uses[OwnerLimit.NEW_THREADS]),
    }


def _limit(use: LimitUse) -> LimitUseDocument:
    return {"limit": use.most, "used": use.used, "left": use.left}


@dataclass(frozen=True, slots=True)
class OwnDataApi:
    """Handlers of `/me/data`."""

    erasures: Erasures

    async def erase(self, incoming: Incoming) -> Answer:
        """Erase the data of the caller, or of the owner that an admin names; returns the receipt.

        The status is 202 while a turn of the owner runs or rows are still being deleted.
        """
        erasure = await self.erasures.erase(incoming.owner, incoming.caller)
        status = HTTPStatus.OK if erasure.erased_at else HTTPStatus.ACCEPTED
        return Answer(erasure.to_json(), status)
