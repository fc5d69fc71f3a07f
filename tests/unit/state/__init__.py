"""What is kept in Table Storage."""
