"""What runs the relational work of a plan. `base` is the contract; one package for each engine."""
