"""Each part of the product by itself; the tree is that of `shared/`."""
