"""Tables, indexes, slots and shards: what there is, where it is, and how it changes."""
