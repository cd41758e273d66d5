"""Backfilling new indexes with the items that were there before them."""
