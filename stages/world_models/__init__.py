"""Frozen encoders of trajectories, loaded by name, folder or Hub id through `registry.load_world_model`."""
