"""The connectors room of rayetl; see the map in README.md."""
