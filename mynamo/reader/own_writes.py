"""Which of its own writes a caller must still wait for."""

from __future__ import annotations

import threading

from mynamo import forks
from mynamo.schemas.tokens import ConsistencyToken

Mark = frozenset[ConsistencyToken]


class OwnWrites:
    """The newest writes to each table, by their tokens. Safe to share between threads.

    A token makes an older one superfluous if both are of the same stream and the older
    write had returned before the newer one began: then the relay cannot but give it the
    lower sequence number, and indexes apply a stream in order. Hence the marks, and hence
    there are never more tokens than streams times threads that write.
    """

    def __init__(self) -> None:
        self._tokens: dict[str, set[ConsistencyToken]] = {}
        self.renew_after_fork()
        forks.note(self)

    def renew_after_fork(self) -> None:
        """Have a lock of its own; a child's reads wait for what its parent wrote before."""
        self._lock = threading.Lock()

    def begin(self, table: str) -> Mark:
        """A write is about to begin: the writes that have returned by now."""
        with self._lock:
            return frozenset(self._tokens.get(table, ()))

    def end(self, table: str, mark: Mark, token: ConsistencyToken) -> None:
        """The write has returned."""
        if not token.version:
            return
        stream = (token.shard, token.partition)
        older = {t for t in mark if (t.shard, t.partition) == stream}
        with self._lock:
            self._tokens.setdefault(table, set()).difference_update(older)
            self._tokens[table].add(token)

    def waiting(self, table: str) -> Mark:
        """The writes that an index must have applied to contain all of ours."""
        return self.begin(table)

    def applied(self, table: str, tokens: Mark) -> None:
        """These are applied, so nobody needs to wait for them again."""
        with self._lock:
            self._tokens.get(table, set()).difference_update(tokens)
