"""Benchmarks: what this code costs, always beside something else in the same run."""
