"""What tests of transactions ask before the writer's part of them is there; it goes then."""

from __future__ import annotations

import inspect

from mynamo.writer.transaction import transact

TRANSACTIONS = "raise NotImplementedError" not in inspect.getsource(transact)
