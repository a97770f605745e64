"""Policies: what turns camera images, proprioception and an instruction into chunks of discretised actions."""
