"""`srpo bench learning`: how fast several ways to learn get how far, from one start, over seeds."""
