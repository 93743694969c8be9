"""The heart of the system: whatever happened before, a finished run has the rows of a fresh one."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nano4m_audio import checked
from nano4m_audio import parts as parts_module
from nano4m_audio import store as store_module
from nano4m_audio.errors import UserError
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
        "speech_fraction": int(key[:2], 16) / 256,
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
            row = {**row_of(item.key), "speech_fraction": -1.0} if passing else row_of(item.key)
            yield {**row, "transient": passing}

    assert publish(store, items, failing, tmp_path / "out.parquet") == 3
    assert pq.read_table(tmp_path / "out.parquet")["speech_fraction"].to_pylist()[1] == -1.0
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


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_flipped_bit_costs_a_row_and_never_changes_one(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("flips")
    store, items = RowStore(folder / "store", NAME, "0000"), items_of(list(range(7)), 0)
    with patch.object(store_module, "PART_ROWS", data.draw(st.integers(1, 7))):
        publish(store, items, computing([]), folder / "before.parquet")
    for part in data.draw(st.lists(st.sampled_from(store.parts()), min_size=1, max_size=4)):
        content = bytearray(part.read_bytes())
        bit = data.draw(st.integers(0, len(content) * 8 - 1))
        content[bit // 8] ^= 1 << bit % 8
        part.write_bytes(content)
    again = data.draw(st.sampled_from([store, RowStore(folder / "store", NAME, "0000")]))
    publish(again, items, computing([]), folder / "after.parquet")
    assert (folder / "after.parquet").read_bytes() == (folder / "before.parquet").read_bytes()


def test_damage_in_a_column_that_another_stage_reads(tmp_path):
    """The part is set aside and the published table goes, so that the owner computes again."""
    store, items = RowStore(tmp_path / "store", NAME, "0000"), items_of([1, 2], 0)
    out = tmp_path / NAME / "0000.parquet"
    publish(store, items, computing([]), out)
    (part,) = store.parts()
    content = bytearray(part.read_bytes())
    pages = slice(4, len(content) - 8 - int.from_bytes(content[-8:-4], "little"))
    content[pages] = bytes(len(content[pages]))  # the footer is as it was
    part.write_bytes(content)
    reader = RowStore(tmp_path / "store", NAME, "0000")
    with pytest.raises(UserError, match="damaged") as error:
        reader.read([item.key for item in items], ["segment_start_s", "speech_fraction"])
    assert "\n" not in str(error.value)
    assert not out.exists() and not part.exists()
    assert part.with_name(part.name + ".damaged").read_bytes() == content
    log: list[str] = []
    publish(store, items, computing(log), out)
    assert len(log) == 2
    assert len(reader.read([item.key for item in items])) == 2


def test_rows_that_another_stage_misses_are_computed_by_the_next_run(tmp_path):
    """As when somebody has deleted the store, but not the tables."""
    store, items = RowStore(tmp_path / "store", NAME, "0000"), items_of([1, 2], 0)
    out = tmp_path / NAME / "0000.parquet"
    publish(store, items, computing([]), out)
    (part,) = store.parts()
    part.unlink()
    with pytest.raises(UserError, match=r"^[^'\"].* has no row for .*: run again") as error:
        RowStore(tmp_path / "store", NAME, "0000").read([item.key for item in items])
    assert isinstance(error.value, KeyError) and not out.exists()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE, errno.EMFILE])
def test_a_part_that_cannot_be_read_is_left_alone(tmp_path, monkeypatch, number):
    items = items_of([1, 2, 3], 0)
    fill(RowStore(tmp_path, NAME, "0000"), items, computing([]))
    (part,) = RowStore(tmp_path, NAME, "0000").parts()

    def failing(path, *arguments, **options):
        if str(path) == str(part):
            raise OSError(number, os.strerror(number), str(path))
        return open(path, *arguments, **options)

    with monkeypatch.context() as context:
        context.setattr(checked, "open", failing, raising=False)
        with pytest.raises(UserError, match="cannot be read") as error:
            fill(RowStore(tmp_path, NAME, "0000"), items, computing([]))
    assert "\n" not in str(error.value)
    assert part.exists()
    assert fill(RowStore(tmp_path, NAME, "0000"), items, computing([])).computed == 0


@settings(max_examples=40, deadline=None)
@given(
    runs=st.lists(st.lists(st.integers(0, 20), unique=True, max_size=9), min_size=1, max_size=9),
    many=st.integers(2, 6),
    full=st.integers(2, 20),
)
def test_parts_are_merged_and_no_row_is_lost(tmp_path_factory, runs, many, full):
    folder = tmp_path_factory.mktemp("merge")
    log: list[str] = []
    sizes = {"MANY_PARTS": many, "FULL_ROWS": full}
    with patch.object(store_module, "PART_ROWS", 1), patch.multiple(parts_module, **sizes):
        for number, clips in enumerate(runs):
            store = RowStore(folder / "store", NAME, "0000")
            publish(store, items_of(clips, 0), computing(log), folder / f"{number}.parquet")
            small = [p for p in map(parts_module.Part.open, store.parts()) if p.n_rows < full]
            assert len(small) < max(many, 2)
    assert len(log) == len(set(log))
    everything = RowStore(folder / "store", NAME, "0000")
    for key, row in zip(log, everything.read(log).to_pylist(), strict=True):
        assert row == row_of(key)


@pytest.mark.parametrize("step", range(4))
def test_a_kill_while_parts_are_merged_loses_nothing(tmp_path, step):
    items = items_of(list(range(7)), 0)
    calls = iter(range(step + 1))

    def dying(*_arguments, **_options):
        if next(calls) == step:
            raise Killed

    unlink = Path.unlink

    def unlink_or_die(path, missing_ok=False):
        dying()
        unlink(path, missing_ok=missing_ok)

    with (
        patch.object(store_module, "PART_ROWS", 1),
        patch.object(parts_module, "MANY_PARTS", 2),
        patch.object(Path, "unlink", unlink_or_die),
        suppress(Killed),
    ):
        fill(RowStore(tmp_path, NAME, "0000"), items, computing([]))
    log: list[str] = []
    with patch.object(parts_module, "MANY_PARTS", 2):
        publish(RowStore(tmp_path, NAME, "0000"), items, computing(log), tmp_path / "o.parquet")
    publish(RowStore(tmp_path / "fresh", NAME, "0"), items, computing([]), tmp_path / "f.parquet")
    assert (tmp_path / "o.parquet").read_bytes() == (tmp_path / "f.parquet").read_bytes()


def test_a_reader_follows_parts_that_are_merged_meanwhile(tmp_path):
    items = items_of(list(range(7)), 0)
    keys = [item.key for item in items]
    with patch.object(store_module, "PART_ROWS", 1):
        fill(RowStore(tmp_path, NAME, "0000"), items, computing([]))
    reader = RowStore(tmp_path, NAME, "0001")
    assert not reader.missing(keys)
    with patch.object(parts_module, "MANY_PARTS", 2):
        writer = RowStore(tmp_path, NAME, "0000")
        fill(writer, items, computing([]))
    assert len(writer.parts()) == 1
    assert reader.read(keys)["key"].to_pylist() == keys


@settings(max_examples=25, deadline=None)
@given(counts=st.lists(st.integers(1, 5), min_size=2, max_size=4))
def test_another_number_of_shards_computes_nothing(tmp_path_factory, counts):
    folder = tmp_path_factory.mktemp("shards")
    items = items_of(list(range(20)), 0)
    for number, count in enumerate(counts):
        log: list[str] = []
        for shard in range(count):
            store = RowStore(folder / "store", NAME, f"{shard:04d}")
            mine = items[shard::count]
            publish(store, mine, computing(log), folder / f"{number}-{shard}.parquet")
        assert not log or number == 0


def test_a_row_is_read_without_the_rest_of_its_part(tmp_path):
    """Frames lie in row groups of their own."""
    store = RowStore(tmp_path, "clips", "0000")
    heavy = [os.urandom(500_000) for _ in range(3)]
    rows = [{"key": f"{i:032x}", "status": "ok", "frames": heavy} for i in range(12)]
    store.append(rows)
    (part,) = map(parts_module.Part.open, store.parts())
    assert [len(keys) for keys in part.keys] == [1] * 12
    before = pa.total_allocated_bytes()
    table = store.read([str(rows[5]["key"])], ["frames"])
    assert pa.total_allocated_bytes() - before < 8e6
    assert table["frames"].to_pylist() == [heavy]


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
