"""Processes that die, storage that fails, messages that come twice: nothing lost or repeated."""
