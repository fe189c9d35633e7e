"""From tree to typed plan: names resolved, types by Spark's rules, every problem reported at once."""
