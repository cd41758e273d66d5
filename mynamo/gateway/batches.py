"""BatchGetItem and BatchWriteItem."""

from mynamo.gateway.batch_reads import batch_get_item
from mynamo.gateway.batch_writes import batch_write_item

__all__ = ["batch_get_item", "batch_write_item"]
