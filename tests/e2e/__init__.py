"""The app as a caller sees it: real processes over HTTP, queues and tables."""
