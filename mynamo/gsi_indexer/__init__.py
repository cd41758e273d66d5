"""Keeping global secondary indexes up to date from the `changes` topic."""

from mynamo.gsi_indexer.indexer import READING, Indexer, run_indexer

__all__ = ["READING", "Indexer", "run_indexer"]
