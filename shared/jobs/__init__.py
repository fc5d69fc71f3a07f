"""Jobs: turns that run in the background, from a queue."""
