"""What a run will take before it is started: memory, time and disk, and whether it fits."""
