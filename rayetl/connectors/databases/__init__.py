"""What sources and loads of databases share: names, conditions, transactions and rejects."""
