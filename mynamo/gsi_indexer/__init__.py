"""Keeping global secondary indexes up to date from the `changes` topic."""

from mynamo.gsi_indexer.indexer import Indexer, run_indexer

__all__ = ["Indexer", "run_indexer"]
