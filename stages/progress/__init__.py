"""How near a failure came to the batch's own successes: references, distances, rewards. Pure arrays, no torch."""
