"""How calls share threads, connections and round trips: tasks, batches, mutexes, wake-ups."""
