"""Prices and budgets, which are settings in JSON.

`PRICES`: the price of a million tokens of each model; `*` stands for every model not listed. A name
includes its versions: `gpt-4.1` matches `gpt-4.1-2026-04-14`, but not `gpt-4.1-mini`.

    {"currency": "EUR", "models": {"llama-3.3-70b": {"input": 0.6, "output": 0.7, "cached": 0.3}}}

`BUDGETS`: a list of limits, each for one owner or department, or with `*` for each of them.

    [{"owner": "*", "tokens": 1000000, "per": "day"},
     {"department": "finance", "money": 500, "per": "month"},
     {"owner": "*", "requests": 60, "per": "minute"},
     {"owner": "*", "concurrent": 10}]
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from ..documents import json_integer
from .base import Env, Settings
from .departments import same_name

ANY = "*"
"""In prices, every model that is not listed; in budgets, each owner or each department."""

NANOS = 1_000_000_000
"""Money is counted in billionths, as whole numbers, so that sums are exact in any order."""

_NANOS_PER_TOKEN = NANOS // 1_000_000
"""Billionths per token at a price of 1 per million tokens."""

_VERSION = re.compile(
    r"-(\d{4}-\d\d-\d\d|\d{3,8}|v\d{1,3}(\.\d{1,3})?|latest)(-preview)?"
    r"|[@:](\d{4}-\d\d-\d\d|v?\d{1,8}|latest)"
)
"""Suffixes of a model's versions: a date, a build or a number, as in `gpt-4o-2024-08-06`,
`gpt-4-0613` and `model:3`. A size or a variant, such as `-mini`, is another model."""

_Rate = Annotated[Decimal, Field(ge=0, le=100_000)]
_Limit = Annotated[int, Field(ge=1, le=10**15, strict=True), json_integer]


class _Terms(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelPrice(_Terms):
    """The prices of a million tokens of a model."""

    input: _Rate
    output: _Rate
    cached: _Rate | None = None
    """The price of cached input tokens; that of other input tokens by default."""

    def nanos(self, usage: Mapping[str, int]) -> int | None:
        """The cost of an answer's tokens, in billionths; None if the token counts are unknown."""
        if not {"input_tokens", "output_tokens"} <= usage.keys():
            return None
        cached = min(usage.get("cached_tokens", 0), usage["input_tokens"])
        cached_rate = self.input if self.cached is None else self.cached
        cost = (
            (usage["input_tokens"] - cached) * self.input
            + cached * cached_rate
            + usage["output_tokens"] * self.output
        )
        return round(cost * _NANOS_PER_TOKEN)


class PriceTable(_Terms):
    """The prices of models."""

    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "EUR"
    models: dict[str, ModelPrice] = {}

    def of(self, model: str, asked: str | None = None) -> ModelPrice | None:
        """The price of the model that answered; None if it has none.

        ``asked`` is the name in the request, which may be that of a deployment.
        """
        names = [name for name in (model, asked) if name and name != ANY]
        exact = (self.models.get(name) for name in names)
        versions = (self._of_version(name) for name in names)
        return next(filter(None, (*exact, *versions)), None) or self.models.get(ANY)

    def _of_version(self, model: str) -> ModelPrice | None:
        """The price of the longest name that a model is a version of."""
        names = (
            name
            for name in self.models
            if model.startswith(name) and _VERSION.fullmatch(model, len(name))
        )
        longest = max(names, key=len, default=None)
        return None if longest is None else self.models[longest]

    def cost(
        self, model: str, asked: str | None, usage: Mapping[str, int], *, complete: bool
    ) -> int | None:
        """The cost of tokens of a model, in billionths; None if it is unknown.

        ``complete`` says that all used tokens were reported, so an empty ``usage`` costs 0.
        """
        if complete and not usage:
            return 0
        price = self.of(model, asked) if self.models else None
        return price.nanos(usage) if price else None

    def at_most(self, model: str) -> ModelPrice | None:
        """The price of a model; if it has none, the highest price of all models."""
        dearest = max(self.models.values(), key=lambda p: p.input + p.output, default=None)
        return self.of(model) or dearest


class Period(StrEnum):
    """The period of a budget, in UTC."""

    MINUTE = "minute"
    DAY = "day"
    MONTH = "month"


class Allowance(_Terms):
    """One limit."""

    tokens: _Limit | None = None
    money: Annotated[Decimal, Field(gt=0, le=10**9)] | None = None
    """In the currency of the price table."""
    requests: _Limit | None = None
    concurrent: _Limit | None = None
    """Turns at the same time."""
    per: Period | None = None

    @model_validator(mode="after")
    def _is_one_limit(self) -> Self:
        limits = [self.tokens, self.money, self.requests, self.concurrent]
        if sum(limit is not None for limit in limits) != 1:
            raise ValueError("give one of tokens, money, requests, concurrent")
        if (self.per is None) != (self.concurrent is not None):
            raise ValueError("give per (minute, day or month), but not with concurrent")
        return self


class Budget(Allowance):
    """One limit of an owner or a department."""

    owner: str | None = None
    department: str | None = None

    @field_validator("department")
    @classmethod
    def _in_one_spelling(cls, name: str | None) -> str | None:
        return name and same_name(name)

    @model_validator(mode="after")
    def _is_of_one_subject(self) -> Self:
        if (self.owner is None) == (self.department is None):
            raise ValueError("give either owner or department")
        return self


_BUDGETS = TypeAdapter(tuple[Budget, ...])
_ALLOWANCES = TypeAdapter(tuple[Allowance, ...])


def read_prices(text: str) -> PriceTable:
    """Parse the setting `PRICES`; an empty text is an empty price table.

    Raises:
        ValueError: saying what is wrong.
    """
    try:
        return PriceTable.model_validate_json(text) if text else PriceTable()
    except ValidationError as error:
        raise ValueError(_first(error)) from None


def read_budgets(text: str) -> tuple[Budget, ...]:
    """Parse the setting `BUDGETS`; an empty text has no budgets.

    Raises:
        ValueError: saying what is wrong.
    """
    try:
        return _BUDGETS.validate_json(text) if text else ()
    except ValidationError as error:
        raise ValueError(_first(error)) from None


def read_allowances(documents: Sequence[Any]) -> tuple[Allowance, ...]:
    """Read the limits that `allowances_to_json` returned."""
    return _ALLOWANCES.validate_python(documents)


def allowances_to_json(allowances: Sequence[Allowance]) -> list[dict[str, Any]]:
    """Limits as JSON, without what they do not limit."""
    return _ALLOWANCES.dump_python(tuple(allowances), mode="json", exclude_none=True)


def _first(error: ValidationError) -> str:
    detail = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in detail["loc"])
    return f"{place}: {detail['msg']}" if place else detail["msg"]


class SpendingSettings(Settings):
    """Prices and budgets."""

    prices: Annotated[
        str,
        Env("PRICES", '{"currency": "EUR", "models": {"gpt-4.1": {"input": 2, "output": 8}}}'),
    ] = ""
    """What a million tokens of each model cost, as JSON; `*` stands for models not listed. Empty:
    cost is unknown."""

    budgets: Annotated[str, Env("BUDGETS", '[{"owner": "*", "tokens": 1000000, "per": "day"}]')] = (
        ""
    )
    """Limits of owners and departments, as JSON. Empty: no limits."""

    @field_validator("prices")
    @classmethod
    def _has_prices(cls, text: str) -> str:
        read_prices(text)
        return text

    @field_validator("budgets")
    @classmethod
    def _has_budgets(cls, text: str) -> str:
        read_budgets(text)
        return text

    @model_validator(mode="after")
    def _can_tell_cost(self) -> Self:
        limits_money = any(budget.money for budget in read_budgets(self.budgets))
        if limits_money and not read_prices(self.prices).models:
            raise ValueError("BUDGETS limits money, so PRICES must say what models cost")
        return self
