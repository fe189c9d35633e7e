"""PostgreSQL: a source that reads a table or query at one moment, and a load that commits exactly once."""
