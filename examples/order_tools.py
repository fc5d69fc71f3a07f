"""A custom tool that the agent of `agent.yaml` offers and the app runs."""

from typing import Literal

from shared.foundry.tools import tool

_ORDERS: dict[str, Literal["packed", "shipped", "delivered"]] = {"1001": "shipped"}


@tool
async def order_status(order_id: str) -> str:
    """Return the status of an order.

    Args:
        order_id: Number on the invoice, such as 1001.
    """
    return _ORDERS.get(order_id, "unknown")
