"""The stages: each a function from rollout store to rollout store, and the packages they are made of."""
