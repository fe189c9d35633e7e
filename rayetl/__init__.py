"""rayetl: a config-driven ETL engine that speaks Spark SQL on Polars and on Spark."""
