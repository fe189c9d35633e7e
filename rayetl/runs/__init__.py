"""What happens in a run around the engine: commit order, verdicts, books, dead letters, tests, replay."""
