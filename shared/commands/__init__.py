"""Commands that operators run with `python -m`."""
