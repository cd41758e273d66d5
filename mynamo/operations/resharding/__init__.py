"""Moving slots between shards; the protocol is `docs/design/resharding.md`."""
