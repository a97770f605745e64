"""Measuring the simulator beside LIBERO and bare physics, in one run: how fast it is, and whether it agrees."""
