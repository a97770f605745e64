"""Frozen encoders of trajectories, loaded by name through `base.load_world_model`."""
