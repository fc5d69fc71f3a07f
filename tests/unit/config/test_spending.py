"""Prices and budgets as settings state them."""

from __future__ import annotations

import pytest

from shared.config import SettingsError, SpendingSettings
from shared.config.spending import NANOS, Period, read_budgets, read_prices

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


VERSIONS = """{"models": {"gpt-4.1": {"input": 1, "output": 1},
                              "gpt-4.1-mini": {"input": 2, "output": 1},
                              "gpt-4": {"input": 3, "output": 1},
                              "my-deployment": {"input": 4, "output": 1},
                              "gpt-4.1-2027-01-01": {"input": 5, "output": 1}}}"""


@pytest.mark.parametrize(
    ("model", "asked", "price"),
    [
        ("gpt-4.1", None, 1),
        ("gpt-4.1-2026-04-14", None, 1),
        ("gpt-4.1-2026-04-14", "gpt-4.1", 1),
        ("gpt-4.1-2026-04-14-preview", None, 1),
        ("gpt-4.1-20260414", None, 1),
        ("gpt-4.1:3", None, 1),
        ("gpt-4.1@2026-04-14", None, 1),
        ("gpt-4.1-latest", None, 1),
        ("gpt-4.1-2027-01-01", None, 5),
        ("gpt-4.1-mini", None, 2),
        ("gpt-4.1-mini-2026-04-14", None, 2),
        ("gpt-4-0613", None, 3),
        ("gpt-4.1-2026-04-14", "my-deployment", 4),
        ("o9-2026-04-14", "my-deployment", 4),
        ("o9", "my-deployment-2", None),
        ("o9", "my-deployment-v2", 4),
        ("gpt-4.1-nano", None, None),
        ("gpt-4.1-nano-2026-04-14", None, None),
        ("gpt-4.5", None, None),
        ("gpt-4o-2024-08-06", None, None),
        ("gpt-4-32k", None, None),
        ("gpt-4.1-", None, None),
        ("gpt-4.1-2026-04-14x", None, None),
        ("gpt-4.12026-04-14", None, None),
        ("GPT", None, None),
        ("", "", None),
    ],
)
def test_a_price_is_that_of_the_model_or_of_what_it_is_a_version_of(
    model: str, asked: str | None, price: int | None
) -> None:
    found = read_prices(VERSIONS).of(model, asked)
    assert (None if found is None else int(found.input)) == price


def test_a_star_is_no_name_of_a_model() -> None:
    table = read_prices(
        '{"models": {"*": {"input": 9, "output": 9}, "m": {"input": 1, "output": 1}}}'
    )
    assert [int(p.input) for p in (table.of("*", "m"), table.of("m-0613"), table.of("x")) if p] == [
        1,
        1,
        9,
    ]


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
