"""The MySQL client: driver, pool, errors by what the caller can do, checks of servers."""
