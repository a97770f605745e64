"""Compiled models of tasks: built from LIBERO, reduced for the lite look, kept in the cache and in memory."""
