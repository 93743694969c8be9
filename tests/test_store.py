"""The heart of the system: whatever happened before, a finished run has the rows of a fresh one."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nano4m_audio import store as store_module
from nano4m_audio.store import Item, RowStore, fill, publish
from nano4m_audio.tables import content_key

NAME = "scores/speech"


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


def row_of(key: str) -> dict:
    """A row that is a function of its key, as every stage's rows are."""
    return {
        "key": key,
        "segment_start_s": [len(key) / 2],
        "segment_end_s": [float(int(key[:4], 16))],
        "voiced_fraction": int(key[:2], 16) / 256,
    }


def items_of(clips: list[int], parameter: int) -> list[Item]:
    return [Item(f"clip{c}", content_key("stage", 1, c % 7, parameter)) for c in clips]


def computing(log: list[str], die_after: int | None = None):
    """A compute function that logs the keys it was asked for and may die on the way."""

    def compute(todo):
        for done, item in enumerate(todo):
            if die_after is not None and done == die_after:
                raise Killed
            log.append(item.key)
            yield row_of(item.key)

    return compute


EVENTS = st.lists(
    st.tuples(
        st.lists(st.integers(0, 20), unique=True, max_size=12),  # clips of this run
        st.integers(0, 2),  # value of a parameter
        st.one_of(st.none(), st.integers(0, 12)),  # rows until it is killed, if it is
        st.integers(1, 4),  # rows per part
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=150, deadline=None)
@given(events=EVENTS, last=st.lists(st.integers(0, 20), unique=True, min_size=1, max_size=12))
def test_any_history_ends_like_a_fresh_run(tmp_path_factory, events, last):
    folder = tmp_path_factory.mktemp("history")
    store = RowStore(folder / "store", NAME, "0000")
    for number, (clips, parameter, die_after, part_rows) in enumerate(events):
        out = folder / f"{number}.parquet"
        with patch.object(store_module, "PART_ROWS", part_rows), suppress(Killed):
            publish(store, items_of(clips, parameter), computing([], die_after), out)
    publish(store, items_of(last, 1), computing([]), folder / "after.parquet")
    fresh = RowStore(folder / "fresh", NAME, "0000")
    publish(fresh, items_of(last, 1), computing([]), folder / "fresh.parquet")
    assert (folder / "after.parquet").read_bytes() == (folder / "fresh.parquet").read_bytes()


@settings(max_examples=80, deadline=None)
@given(
    first=st.lists(st.integers(0, 20), unique=True, max_size=12),
    second=st.lists(st.integers(0, 20), unique=True, max_size=12),
)
def test_exactly_the_unknown_rows_are_computed(tmp_path_factory, first, second):
    store = RowStore(tmp_path_factory.mktemp("rows"), NAME, "0000")
    log: list[str] = []
    fill(store, items_of(first, 0), computing([]))
    fill(store, items_of(second, 0), computing(log))
    known = {item.key for item in items_of(first, 0)}
    wanted = {item.key for item in items_of(second, 0)}
    assert sorted(log) == sorted(wanted - known)


def test_nothing_is_computed_or_prepared_when_all_is_known(tmp_path):
    store = RowStore(tmp_path, NAME, "0000")
    items = items_of([1, 2, 3], 0)
    assert fill(store, items, computing([])).computed == 3

    def never(todo):
        raise AssertionError("a model would be loaded here")

    assert fill(store, items, never).computed == 0


def test_rows_follow_the_items_and_twins_share_a_row(tmp_path):
    store = RowStore(tmp_path, NAME, "0000")
    items = items_of([8, 1, 5], 0)  # 8 and 1 have the same content
    log: list[str] = []
    publish(store, items, computing(log), tmp_path / "out.parquet")
    table = pq.read_table(tmp_path / "out.parquet")
    assert table["clip_id"].to_pylist() == ["clip8", "clip1", "clip5"]
    assert table["key"].to_pylist() == [item.key for item in items]
    assert len(log) == 2


def test_a_transient_row_is_published_but_never_kept(tmp_path):
    store, items = RowStore(tmp_path, NAME, "0000"), items_of([1, 2, 3], 0)

    def failing(todo):
        for item in todo:
            passing = item.key == items[1].key
            row = {**row_of(item.key), "voiced_fraction": -1.0} if passing else row_of(item.key)
            yield {**row, "transient": passing}

    assert publish(store, items, failing, tmp_path / "out.parquet") == 3
    assert pq.read_table(tmp_path / "out.parquet")["voiced_fraction"].to_pylist()[1] == -1.0
    assert set(store.known()) == {items[0].key, items[2].key}
    assert publish(store, items, computing([]), tmp_path / "out.parquet") == 1
    publish(
        RowStore(tmp_path / "fresh", NAME, "0"), items, computing([]), tmp_path / "fresh.parquet"
    )
    assert (tmp_path / "out.parquet").read_bytes() == (tmp_path / "fresh.parquet").read_bytes()


def test_a_damaged_part_is_recomputed(tmp_path, capsys):
    store = RowStore(tmp_path, NAME, "0000")
    items = items_of([1, 2, 3], 0)
    fill(store, items, computing([]))
    part = store.parts()[0]
    part.write_bytes(part.read_bytes()[:-50])
    log: list[str] = []
    fill(store, items, computing(log))
    assert len(log) == 3
    assert "damaged" in capsys.readouterr().err


def test_a_missing_row_is_an_error(tmp_path):
    store = RowStore(tmp_path, NAME, "0000")
    with pytest.raises(RuntimeError, match="never computed"):
        fill(store, items_of([1, 2], 0), lambda todo: iter([row_of(todo[0].key)]))
    assert fill(store, items_of([2], 0), computing([])).computed == 1


def _slow_worker(folder: str, clips: list[int]) -> None:
    def compute(todo):
        for item in todo:
            time.sleep(0.02)
            yield row_of(item.key)

    store_module.PART_ROWS = 1
    store = RowStore(Path(folder), NAME, "0000")
    publish(store, items_of(clips, 0), compute, Path(folder, "out.parquet"))


@pytest.mark.parametrize("delay_s", [0.03, 0.07, 0.11])
def test_sigkill_loses_at_most_one_part_and_leaves_no_lock(tmp_path, delay_s):
    context = multiprocessing.get_context("fork")
    worker = context.Process(target=_slow_worker, args=(str(tmp_path), list(range(7))))
    worker.start()
    time.sleep(delay_s)
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    store = RowStore(tmp_path, NAME, "0000")
    before = set(store.known())
    log: list[str] = []
    publish(store, items_of(list(range(7)), 0), computing(log), tmp_path / "out.parquet")
    assert set(log) == {item.key for item in items_of(list(range(7)), 0)} - before
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 7


def test_two_writers_compute_every_row_once(tmp_path):
    context = multiprocessing.get_context("fork")
    workers = [
        context.Process(target=_slow_worker, args=(str(tmp_path), list(range(7)))) for _ in "ab"
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    keys = [
        k
        for part in RowStore(tmp_path, NAME, "0000").parts()
        for k in pq.read_table(part)["key"].to_pylist()
    ]
    assert len(keys) == len(set(keys)) == 7
