"""Writing items: `Producer`."""

from mynamo.producer.batch_writes import Delete, Put
from mynamo.producer.producer import Producer
from mynamo.producer.receipt import Receipt, TransactionReceipt
from mynamo.producer.transactions import Check, Update
from mynamo.schemas.commands import MUST_EXIST, MUST_NOT_EXIST, Condition, WriteCommand, version_is

__all__ = [
    "MUST_EXIST",
    "MUST_NOT_EXIST",
    "Check",
    "Condition",
    "Delete",
    "Producer",
    "Put",
    "Receipt",
    "TransactionReceipt",
    "Update",
    "WriteCommand",
    "version_is",
]
