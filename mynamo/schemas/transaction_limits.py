"""What is the same in transactions that write and in those that read.

Source: Amazon DynamoDB API Reference, TransactWriteItems and TransactGetItems.
"""

from __future__ import annotations

MAX_ITEMS = 100
MAX_SIZE = 4 * 1024 * 1024
"""Bytes of the items that are put or read, by DynamoDB's count."""
SAME_ITEM = "Transaction request cannot include multiple operations on one item"
