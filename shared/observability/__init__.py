"""Traces, logs and readiness."""
