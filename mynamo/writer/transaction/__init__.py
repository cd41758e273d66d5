"""The write transaction, from a request to its commit."""
