"""What `srpo inspect` and `srpo report` show: facts as plain dictionaries, then tables, pictures and one HTML page."""
