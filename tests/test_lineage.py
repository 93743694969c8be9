"""Records of what a file was made from: any other content, or none, is noticed; the rest is not."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nano4m_audio.errors import UserError
from nano4m_audio.files import write_bytes
from nano4m_audio.lineage import RECORDS, fingerprint, outdated, record, settle_dates
from nano4m_audio.tables import write_rows


def make(folder: Path) -> dict[str, Path]:
    """A chain of four files, as commands leave them: a -> b -> (c, d)."""
    files = {name: folder / name / f"{name}.json" for name in "abcd"}
    for name, path in files.items():
        write_bytes(path, name.encode())
    record(files["a"], [])
    record(files["b"], [files["a"]])
    record([files["c"], files["d"]], [files["b"]])
    return files


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from("abcd"), st.sampled_from(["gone", "other", "touched"])))
def test_exactly_what_no_longer_holds_is_outdated(tmp_path_factory, changes):
    files = make(tmp_path_factory.mktemp("chain"))
    for name, change in changes.items():
        if change == "gone":
            files[name].unlink()
        elif change == "other":
            files[name].write_bytes(b"!")
        else:
            os.utime(files[name], (5, 5))
    changed = {name for name, change in changes.items() if change != "touched"}
    wanted = {"a"} & changed | ({"b"} if changed & set("ab") else set())
    wanted |= set("cd") if changed & set("bcd") else set()
    assert {path.stem for path in outdated(files["a"].parents[1])} == wanted


def test_records_move_with_their_folder(tmp_path):
    make(tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    assert outdated(tmp_path / "there") == []


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"outputs": {}}', "\x00"])
def test_a_damaged_record_vouches_for_nothing(tmp_path, text):
    files = make(tmp_path)
    (files["b"].parent / RECORDS / "b.json.json").write_text(text)
    assert outdated(tmp_path) == [files["b"]]


@pytest.mark.parametrize("size", [10, 1 << 20, 3 << 20])
def test_a_fingerprint_tells_contents_apart(tmp_path, size):
    path = tmp_path / "x.safetensors"
    seen = set()
    for content in (b"a" * size, b"b" + b"a" * (size - 1), b"a" * (size - 1) + b"b", b"a" * 9):
        path.write_bytes(content)
        seen.add(fingerprint(path))
    assert len(seen) == 4 and "" not in seen
    assert fingerprint(tmp_path / "absent") == ""


def test_equal_tables_have_equal_fingerprints_and_other_rows_another(tmp_path):
    for name, ids in (("a", ["x", "y"]), ("b", ["x", "y"]), ("c", ["y", "x"])):
        write_rows(tmp_path / f"{name}.parquet", "candidates", [{"clip_id": i} for i in ids])
    a, b, c = (fingerprint(tmp_path / f"{name}.parquet") for name in "abc")
    assert a == b != c


def test_what_is_from_the_future_is_from_now_and_keeps_its_order(tmp_path):
    files = make(tmp_path / "results")
    ahead, past = time.time() + 9e6, time.time() - 9e6
    own = tmp_path / "clips.csv"
    for path in (own, files["a"], tmp_path / "results/barnyard/clips.csv"):
        write_bytes(path, b"x")
        os.utime(path, (past, past))
    for name, shift in (("b", 0), ("c", 50), ("d", -50)):
        os.utime(files[name], (ahead + shift, ahead + shift))
    os.utime(tmp_path / "results/barnyard/clips.csv", (ahead, ahead))
    sources = [own, tmp_path / "results/barnyard/clips.csv", tmp_path / "no.csv"]
    settle_dates(tmp_path / "results", sources)
    moments = {files[name].stat().st_mtime for name in "bcd"} | {sources[1].stat().st_mtime}
    assert len(moments) == 1 and past < moments.pop() <= time.time()
    assert own.stat().st_mtime == files["a"].stat().st_mtime == past


def test_a_source_from_the_future_is_one_line(tmp_path):
    path = tmp_path / "clips.csv"
    path.write_text("file,class\n")
    soon = time.time() + 5  # as the clock of a file server may be
    os.utime(path, (soon, soon))
    settle_dates(tmp_path / "results", [path])
    os.utime(path, (soon + 3600, soon + 3600))
    with pytest.raises(UserError, match="clips.csv is from the future .*touch") as caught:
        settle_dates(tmp_path / "results", [path])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["web", "store", "logs", "benchmarks", "barnyard", "0001"])
def test_an_experiment_of_any_name_is_looked_after(tmp_path, name):
    weights = tmp_path / "runs" / name / "checkpoint.safetensors"
    write_bytes(weights, b"x")
    record(weights, [])
    assert outdated(tmp_path) == []
    weights.write_bytes(b"y")
    assert outdated(tmp_path) == [weights]
