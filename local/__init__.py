"""Everything needed to run the application on one machine with no Azure subscription."""
