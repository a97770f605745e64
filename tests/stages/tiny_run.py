"""The preset of a run that a test has the time for."""

TINY = """
[task]
suite = "libero_object"
tasks = "2"
horizon = 120
workers = 1

[demo]
per_task = 1
noise = 0.0

[sft]
steps = 2
agentview = 32
wrist = 0

[collect]
groups = 1
samples = 2
horizon = 16

[reward]
preset = "paper"

[eval]
every = 2
episodes = 1
horizon = 16

[run]
keep_images = 1
keep_policies = 2
pack_after = 2
"""
