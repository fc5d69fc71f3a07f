"""`aos`: the command line of the app, which it reaches over HTTP only."""
