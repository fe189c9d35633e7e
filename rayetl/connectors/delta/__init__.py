"""Delta Lake: a source that reads one version of a table, and a load that commits exactly once."""
