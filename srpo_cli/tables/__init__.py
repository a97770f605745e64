"""What commands print for people: tables, lines and figures."""
