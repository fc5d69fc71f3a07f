"""What turns use, what it costs, and what budgets allow."""
