"""LIBERO as srpo runs it: tasks, exact fast stepping, looks. Knows no policy."""
