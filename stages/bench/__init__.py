"""Measurements of the simulator: how fast it is, and how exactly it does what LIBERO does."""
