"""Episodes at once: the pool, its worker processes, and the stores that they fill."""
