"""Batch sizes adapt to the time that a server takes."""

from __future__ import annotations

from mynamo.runtime.batch_sizes import BatchSize


def test_a_fast_server_gets_larger_batches_up_to_the_most() -> None:
    size = BatchSize(500, 3_000, 0.1)
    seen = []
    for _ in range(5):
        seen.append(size.rows)
        size.note(size.rows, 0.01)
    assert seen == [500, 1_000, 2_000, 3_000, 3_000]


def test_a_slow_server_gets_smaller_ones_down_to_the_least() -> None:
    size = BatchSize(500, 3_000, 0.1)
    for _ in range(5):
        size.note(size.rows, 0.01)
    seen = []
    for _ in range(4):
        size.note(size.rows, 0.2)
        seen.append(size.rows)
    assert seen == [1_500, 750, 500, 500]


def test_a_batch_that_was_not_full_says_nothing_of_larger_ones() -> None:
    size = BatchSize(500, 3_000, 0.1)
    size.note(499, 0.01)
    assert size.rows == 500
    size.note(500, 0.06)
    assert size.rows == 500
