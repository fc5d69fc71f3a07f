"""Parts of the system together with real processes beside them."""
