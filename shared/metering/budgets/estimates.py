"""What a turn may need at most, before it is sent, and what it has used, afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...config.spending import PriceTable
from ...state.turns import TurnRecord
from .limits import Amount

BYTES_PER_TOKEN = 3
"""Of text; English has about 4, other languages fewer."""

IMAGE_TOKENS = 1_500
"""About what a large image takes."""


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """What is known of a turn before it is sent."""

    model: str
    text_bytes: int
    images: int
    history_tokens: int
    """What the thread's last turn took, which is sent again."""
    max_tokens: int
    """The most that the answer may have."""

    def need(self, prices: PriceTable) -> Amount:
        """What it may need if no tools are used; those can make it more."""
        given = self.text_bytes // BYTES_PER_TOKEN + 1
        given += self.images * IMAGE_TOKENS + self.history_tokens
        usage = {"input_tokens": given, "output_tokens": self.max_tokens}
        return Amount(given + self.max_tokens, _nanos(prices, self.model, usage), 1)


def used_by(turn: TurnRecord, need: Amount, prices: PriceTable) -> Amount:
    """What a turn used; at least what was reserved for it where not all was reported.

    A model without a price costs what the dearest one does.
    """
    usage = turn.usage
    tokens = usage.get("input_tokens", 0) + usage.get("output_tokens", 0)
    tokens = max(tokens, usage.get("total_tokens", 0))
    nanos = turn.effort.cost
    if nanos is None:
        nanos = _nanos(prices, turn.model, usage)
    if turn.effort.unreported:
        return Amount(max(tokens, need.tokens), max(nanos, need.nanos), 1)
    return Amount(tokens, nanos, 1)


def _nanos(prices: PriceTable, model: str, usage: Mapping[str, int]) -> int:
    price = prices.at_most(model)
    return (price.nanos(usage) if price else None) or 0
