"""S3: files read from buckets and loaded into them, each source and load with an account of its own."""
