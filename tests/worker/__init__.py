"""The app under Microsoft's own worker library, as Azure runs it."""
