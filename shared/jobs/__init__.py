"""Jobs: turns that run from a queue."""
