"""What the routes of the HTTP API take and answer: one declaration per route."""
