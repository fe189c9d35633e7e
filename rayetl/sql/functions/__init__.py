"""The function table: one module per family, each entry with its type rule and its lowering side by side."""
