"""Models by type: routing, fallback, conversations."""
