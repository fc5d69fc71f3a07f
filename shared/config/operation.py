"""Settings of what operators watch: money and traces."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import field_validator, model_validator

from .base import Env, Settings
from .identity import GUID
from .rules import matching, rule
from .terms import read_budgets, read_prices

_insights = matching(rf"(.*;)?\s*InstrumentationKey={GUID}(;.*)?", "the one that Azure shows")


class SpendingSettings(Settings):
    """What models cost and what may be spent."""

    prices: Annotated[
        str,
        Env("PRICES", '{"currency": "EUR", "models": {"gpt-4.1": {"input": 2, "output": 8}}}'),
    ] = ""
    """What a million tokens of each model cost, as JSON; `*` stands for models not listed. Empty:
    cost is unknown."""

    budgets: Annotated[str, Env("BUDGETS", '[{"owner": "*", "tokens": 1000000, "per": "day"}]')] = (
        ""
    )
    """Limits of owners and departments, as JSON. Empty: everybody may spend without limit."""

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


class TelemetrySettings(Settings):
    """Where traces and logs go."""

    connection_string: Annotated[
        str,
        rule(_insights),
        Env("APPLICATIONINSIGHTS_CONNECTION_STRING", "InstrumentationKey=<GUID>"),
    ] = ""
    """Application Insights that traces and logs are sent to. Empty: nowhere."""

    site_name: Annotated[str, Env("WEBSITE_SITE_NAME")] = ""
    """Set by Azure to the app's name, under which its telemetry is found."""
