"""Figures and records of what happened."""
