"""Learning: advantages, objectives and the trainers, for imitation and for reinforcement."""
