"""The life of threads after their turns: removal, erasure, retention."""
