"""Limits to what owners and departments may spend."""
