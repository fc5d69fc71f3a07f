"""The edge under every face: from an HTTP request to a handler, and back to an answer."""
