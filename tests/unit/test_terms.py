"""Prices and budgets as settings state them."""

from __future__ import annotations

import pytest

from shared.config import SettingsError, SpendingSettings
from shared.terms import NANOS, Period, read_budgets, read_prices

PRICES = '{"currency": "USD", "models": {"m": {"input": 2, "output": 8, "cached": 0.5}}}'


def test_an_answer_costs_what_its_tokens_cost() -> None:
    price = read_prices(PRICES).of("m")
    assert price is not None
    million = {"input_tokens": 1_000_000, "output_tokens": 1_000_000}
    assert price.nanos(million) == 10 * NANOS
    assert price.nanos({**million, "cached_tokens": 1_000_000}) == 8.5 * NANOS
    assert price.nanos({"input_tokens": 1, "output_tokens": 0}) == 2000


def test_what_is_not_known_costs_not_nothing() -> None:
    table = read_prices(PRICES)
    assert table.of("another") is None
    price = table.of("m")
    assert price is not None
    assert price.nanos({"input_tokens": 5}) is None
    assert price.nanos({}) is None
    assert table.at_most("another") == price
    assert read_prices("").at_most("m") is None


def test_a_star_prices_every_model_not_listed() -> None:
    table = read_prices(
        '{"models": {"*": {"input": 1, "output": 1}, "m": {"input": 2, "output": 2}}}'
    )
    assert [str(table.of(name).input) for name in ("m", "x")] == ["2", "1"]  # type: ignore[union-attr]


def test_budgets_are_read() -> None:
    text = """[{"owner": "*", "tokens": 1000, "per": "day"},
               {"department": "finance", "money": 0.5, "per": "month"},
               {"owner": "key", "concurrent": 10}]"""
    tokens, money, concurrent = read_budgets(text)
    assert (tokens.tokens, tokens.per) == (1000, Period.DAY)
    assert (money.department, str(money.money)) == ("finance", "0.5")
    assert concurrent.concurrent == 10


@pytest.mark.parametrize(
    "text",
    [
        "{",
        '[{"tokens": 1, "per": "day"}]',
        '[{"owner": "*", "department": "x", "tokens": 1, "per": "day"}]',
        '[{"owner": "*", "tokens": 1}]',
        '[{"owner": "*", "tokens": 1, "requests": 1, "per": "day"}]',
        '[{"owner": "*", "concurrent": 1, "per": "day"}]',
        '[{"owner": "*", "tokens": 0, "per": "day"}]',
        '[{"owner": "*", "tokens": 1, "per": "year"}]',
        '[{"owner": "*", "tokens": 1, "per": "day", "then": "warn"}]',
    ],
)
def test_a_wrong_budget_is_a_wrong_setting(text: str) -> None:
    with pytest.raises(SettingsError, match="BUDGETS"):
        SpendingSettings.from_env({"BUDGETS": text})


@pytest.mark.parametrize("text", ["[]", '{"models": {"m": {"input": -1, "output": 1}}}'])
def test_a_wrong_price_is_a_wrong_setting(text: str) -> None:
    with pytest.raises(SettingsError, match="PRICES"):
        SpendingSettings.from_env({"PRICES": text})


def test_money_can_be_limited_only_where_prices_are_known() -> None:
    budgets = '[{"owner": "*", "money": 5, "per": "day"}]'
    with pytest.raises(SettingsError, match="PRICES"):
        SpendingSettings.from_env({"BUDGETS": budgets})
    SpendingSettings.from_env({"BUDGETS": budgets, "PRICES": PRICES})
