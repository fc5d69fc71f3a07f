"""What `pip install` makes of the project."""
