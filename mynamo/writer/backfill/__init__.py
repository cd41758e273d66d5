"""Filling new indexes with the items that were there before them."""
