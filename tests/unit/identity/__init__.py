"""Outbound credentials."""
