"""Runs turns: admit, lease, answer, commit."""
