"""Budgets: reserve before a turn, settle after it."""
