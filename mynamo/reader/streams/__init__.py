"""Reading the streams of tables: which there are, their stream shards, and their records."""
