"""The stages: each a function from rollout store to rollout store, and the packages they are made of."""

import os

# Read when torch is first imported. Threads that spin while they wait make an update 3 to 5 times slower as soon as
# any other process wants a core; threads that sleep cost a few per cent on an idle machine.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
