"""Where everything is kept: the rollout store, the run directory, settings and presets."""
