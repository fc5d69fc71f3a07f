"""HTTP: from a request to its handler, and from the result to the response."""
