"""The command line of srpo: one module a command, thin over `stages`."""

__version__ = "0.1.0"
