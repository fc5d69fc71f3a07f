"""The rows of the app in Table Storage."""
