"""Wake-ups: they arrive, block nobody, and nothing depends on them."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mynamo.runtime import local_wakeups
from mynamo.runtime.local_wakeups import LocalWakeUps, wake_up

CLUSTER = b"0123456789abcdef"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Of temporary files; with a short path, as sockets need one."""
    with tempfile.TemporaryDirectory(prefix="wake-") as short:
        monkeypatch.setattr(tempfile, "tempdir", short)
        yield Path(short)


@pytest.fixture
def stop() -> Iterator[threading.Event]:
    told = threading.Event()
    yield told
    told.set()


@pytest.fixture
def wake_ups(stop: threading.Event, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalWakeUps]:
    """One that looks by itself so seldom that only wake-ups can wake it."""
    monkeypatch.setattr(local_wakeups, "SELDOM", 3600.0)
    monkeypatch.setattr(local_wakeups, "SOON", 3600.0)
    made = LocalWakeUps(CLUSTER, "relay-1", stop, all_here=True, at_once=False)
    yield made
    made.close()


def begin(work: Callable[..., object], *args: object) -> threading.Thread:
    thread = threading.Thread(target=work, args=args, daemon=True)
    thread.start()
    return thread


def ends(thread: threading.Thread) -> bool:
    thread.join(10)
    return not thread.is_alive()


def test_a_wake_up_wakes(wake_ups: LocalWakeUps) -> None:
    waiting = begin(wake_ups.wait, False)
    wake_up(CLUSTER, "relay-1")
    assert ends(waiting)


def test_a_wake_up_for_others_does_not(wake_ups: LocalWakeUps) -> None:
    for cluster, name in (CLUSTER, "relay-10"), (CLUSTER, "indexer"), (bytes(16), "relay-1"):
        wake_up(cluster, name)
    assert not wake_ups.drain()


def test_a_wake_up_during_work_is_not_lost(wake_ups: LocalWakeUps) -> None:
    wake_up(CLUSTER, "relay-1")
    assert ends(begin(wake_ups.wait, False))


def test_whoever_is_told_to_stop_stops(wake_ups: LocalWakeUps, stop: threading.Event) -> None:
    waiting = begin(wake_ups.wait, False)
    stop.set()
    assert ends(waiting)


def test_all_who_wait_are_woken(wake_ups: LocalWakeUps) -> None:
    other = LocalWakeUps(CLUSTER, "relay-1", threading.Event(), all_here=True, at_once=False)
    wake_up(CLUSTER, "relay-1")
    assert [wake_ups.drain(), other.drain()] == [True, True]
    other.close()


def test_wake_ups_that_nobody_receives_block_nobody(wake_ups: LocalWakeUps) -> None:
    def wake_often() -> None:
        for _ in range(1000):
            wake_up(CLUSTER, "relay-1")

    assert ends(begin(wake_often))
    assert ends(begin(wake_ups.wait, False))


def test_the_socket_of_a_process_that_was_killed_is_removed(
    folder: Path, wake_ups: LocalWakeUps
) -> None:
    killed = LocalWakeUps(CLUSTER, "relay-1", threading.Event(), all_here=True, at_once=False)
    assert killed.listener is not None
    killed.listener.close()
    wake_up(CLUSTER, "relay-1")
    assert [path.name for path in folder.rglob("relay-*")] == [wake_ups.path.name]


def test_nothing_is_left_behind(folder: Path) -> None:
    LocalWakeUps(CLUSTER, "relay-1", threading.Event(), all_here=True, at_once=False).close()
    assert list(folder.iterdir()) == []


def test_nothing_is_left_behind_where_the_path_is_too_long_for_a_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    wake_ups = LocalWakeUps(CLUSTER, "relay-1", threading.Event(), all_here=True, at_once=False)
    assert wake_ups.listener is None
    assert list(long.iterdir()) == []
    wake_ups.close()


def test_a_strangers_folder_is_not_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: nobody)
    wake_ups = LocalWakeUps(CLUSTER, "relay-1", threading.Event(), all_here=True, at_once=False)
    wake_up(CLUSTER, "relay-1")
    assert wake_ups.listener is None
    assert max(pauses(wake_ups, monkeypatch, *[False] * 20)) == local_wakeups.OFTEN


def pauses(wake_ups: LocalWakeUps, monkeypatch: pytest.MonkeyPatch, *found: bool) -> list[float]:
    """How long it would sleep after each time that there was work or not."""
    slept: list[float] = []
    monkeypatch.setattr(wake_ups, "sleep", lambda seconds: slept.append(seconds))
    for each in found:
        wake_ups.wait(each)
    return slept


def test_it_looks_less_and_less_often_while_wake_ups_come_for_everything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wake_ups = LocalWakeUps(CLUSTER, "relay-1", threading.Event(), all_here=True, at_once=False)
    first = pauses(wake_ups, monkeypatch, *[False] * 20)
    wake_up(CLUSTER, "relay-1")
    second = pauses(wake_ups, monkeypatch, True, *[False] * 20)
    assert first == second == sorted(first)
    assert (first[0], first[-1]) == (local_wakeups.SOON, local_wakeups.SELDOM)
    wake_ups.close()


def test_where_work_is_visible_at_its_wake_up_it_does_not_look_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wake_ups = LocalWakeUps(CLUSTER, "relay-1", threading.Event(), all_here=True, at_once=True)
    assert set(pauses(wake_ups, monkeypatch, True, *[False] * 20)) == {local_wakeups.SELDOM}
    unexpected = pauses(wake_ups, monkeypatch, True, *[False] * 20)
    assert (unexpected[0], unexpected[-1]) == (local_wakeups.SOON, local_wakeups.OFTEN)
    wake_ups.close()


def test_it_looks_often_once_it_has_found_work_without_a_wake_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wake_ups = LocalWakeUps(CLUSTER, "relay-1", threading.Event(), all_here=True, at_once=False)
    before = pauses(wake_ups, monkeypatch, *[False] * 20)
    after = pauses(wake_ups, monkeypatch, True, *[False] * 20)
    assert (before[-1], after[-1]) == (local_wakeups.SELDOM, local_wakeups.OFTEN)
    wake_ups.close()


def test_it_looks_often_where_others_work_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    wake_ups = LocalWakeUps(CLUSTER, "relay-1", threading.Event(), all_here=False, at_once=False)
    assert max(pauses(wake_ups, monkeypatch, *[False] * 20)) == local_wakeups.OFTEN
    wake_ups.close()


def test_whoever_does_not_listen_looks_often_and_has_no_socket(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wake_ups = LocalWakeUps(
        CLUSTER, "relay-1", threading.Event(), listen=False, all_here=True, at_once=True
    )
    wake_up(CLUSTER, "relay-1")
    assert list(folder.iterdir()) == []
    assert max(pauses(wake_ups, monkeypatch, *[False] * 20)) == local_wakeups.OFTEN
    wake_ups.close()
