"""How fast a policy acts and learns on this device, and how well it reproduces its own log-probs."""
