"""Jobs, from the queue to their end."""
