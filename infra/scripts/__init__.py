"""Commands around a deployment; each has `--help` and `--dry-run`."""
