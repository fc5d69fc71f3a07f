"""The web console: its pages, scripts and styles, which call the HTTP API like any other client."""
