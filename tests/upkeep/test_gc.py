"""What is removed from the store: all that nothing names and nothing else; a kill loses nothing."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nano4m_audio.cli.app import app
from nano4m_audio.config.schema import Config
from nano4m_audio.errors import UserError
from nano4m_audio.files import write_json
from nano4m_audio.locks import in_use, locked
from nano4m_audio.paths import Results
from nano4m_audio.reasons import Reason
from nano4m_audio.seals import seal
from nano4m_audio.shards import set_shards
from nano4m_audio.store import RowStore
from nano4m_audio.tables import content_key, write_rows
from nano4m_audio.upkeep.garbage import PIECES, Options, collect
from nano4m_audio.upkeep.usage import usage

NAME = "scores/speech"


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


def key_of(number: int) -> str:
    return content_key("row", number)


def row_of(number: int) -> dict:
    """A row that is a function of its number."""
    return {
        "key": key_of(number),
        "segment_start_s": [number / 2],
        "segment_end_s": [number + 1.0] * (number % 5),
        "speech_fraction": number / 1024,
    }


def make(folder: Path, shards: dict[str, list[list[int]]], named: set[int]) -> Results:
    """A results folder whose store has these parts (numbers of rows) in every shard, and whose one
    table of the artifact names some of them."""
    results = Results(folder / "results")
    set_shards(results.root, 1)
    write_rows(results.table("candidates", "0000"), "candidates", [])
    for shard, parts in shards.items():
        store = RowStore(results.store, NAME, shard)
        for numbers in parts:
            store.append([row_of(number) for number in numbers])
    rows = [{"clip_id": f"clip{n}", **row_of(n)} for n in sorted(named)]
    write_rows(results.table(NAME, "0000"), NAME, rows)
    return results


def read(results: Results, numbers: set[int]) -> list[dict]:
    keys = [key_of(number) for number in sorted(numbers)]
    return RowStore(results.store, NAME, "0000").read(keys).to_pylist()


def held(results: Results) -> set[str]:
    known = (
        RowStore(results.store, NAME, p.name).known() for p in (results.store / NAME).glob("*")
    )
    return {key for keys in known for key in keys}


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


PARTS = st.lists(st.lists(st.integers(0, 30), unique=True, min_size=1, max_size=8), max_size=5)


@settings(max_examples=80, deadline=None)
@given(
    parts=st.fixed_dictionaries({"0000": PARTS, "0003": PARTS}), wanted=st.sets(st.integers(0, 30))
)
def test_named_rows_stay_and_no_other(tmp_path_factory, parts, wanted):
    folder = tmp_path_factory.mktemp("gc")
    there = {number for shard in parts.values() for part in shard for number in part}
    named = wanted & there
    results = make(folder, parts, named)
    before = files(results.root)
    planned, _ = collect(results, delete=False)
    assert files(results.root) == before
    freed, _ = collect(results, delete=True)
    assert freed == planned
    assert read(results, named) == [row_of(number) for number in sorted(named)]
    assert held(results) == {key_of(number) for number in named}
    after = files(results.root)
    assert collect(results, delete=True)[0] == []
    assert files(results.root) == after


def test_a_part_that_is_all_named_is_not_written_again(tmp_path):
    results = make(tmp_path, {"0000": [[1, 2], [3, 4]]}, {1, 2, 3})
    before = files(results.store)
    collect(results, delete=True)
    both = files(results.store).keys() & before.keys()
    assert len(both) == 1
    assert read(results, {1, 2, 3}) == [row_of(n) for n in (1, 2, 3)]


@pytest.fixture
def cluttered(tmp_path) -> Results:
    """A store with everything that can go, and everything that stays."""
    parts = [list(range(i, i + 15)) for i in range(0, 60, 15)]
    results = make(tmp_path, {"0000": parts, "0001": parts[:2]}, set(range(0, 60, 4)) | {1, 2})
    for name in ("named", "old", "begun", "going"):
        folder = results.store / "train" / name
        folder.mkdir(parents=True)
        (folder / "checkpoint.safetensors").write_bytes(b"w" * 1000)
        write_json(folder / "run.json", {"key": name})
        if name in ("named", "old"):
            seal(folder / "run.json", folder / "checkpoint.safetensors")
    write_json(results.run("base") / "run.json", {"key": "named"})
    write_json(results.run("other") / "run_start.json", {"key": "going"})
    for name in ("named", "old"):
        stored = results.store / "evaluate" / "classes" / f"{name}.json"
        write_json(stored, {"key": name})
        seal(stored)
        folder = results.store / "generated" / name
        write_json(folder / "index.json", {"key": name})
        (folder / "clip00.jpg").write_bytes(b"j")
    write_json(results.probe("base", "classes"), {"key": "named"})
    write_json(results.generated("base") / "index.json", {"key": "named"})
    (results.store / NAME / "0000" / "x.parquet.damaged").write_bytes(b"d")
    (results.store / NAME / "0001" / "new").write_bytes(b"half")
    return results


STAY = {
    "train/named/checkpoint.safetensors", "train/begun/run.json", "train/going/run.json",
    "evaluate/classes/named.json", "evaluate/classes/named.json.sha256",
    "generated/named/index.json", "generated/named/clip00.jpg",
}  # fmt: skip
GO = {
    "train/old", "evaluate/classes/old.json", "evaluate/classes/old.json.sha256", "generated/old",
    f"{NAME}/0000/x.parquet.damaged", f"{NAME}/0001/new",
}  # fmt: skip


def check_collected(results: Results) -> None:
    named = set(range(0, 60, 4)) | {1, 2}
    assert read(results, named) == [row_of(number) for number in sorted(named)]
    assert held(results) == {key_of(number) for number in named}
    assert all((results.store / path).is_file() for path in STAY)
    assert not any((results.store / path).exists() for path in GO)
    assert not list(results.store.rglob(".removed-*"))
    assert collect(results, delete=False)[0] == []


def test_all_kinds_of_leftovers_go(cluttered):
    freed, found = collect(cluttered, delete=True)
    assert {one.kind for one in freed} == {
        NAME, "train", "evaluate", "generated", "damaged", "temporary",
    }  # fmt: skip
    check_collected(cluttered)
    assert any("1 unfinished training" in note for note in found.notes)
    collect(cluttered, delete=True, options=Options(unfinished=True))
    assert not (cluttered.store / "train/begun").exists()
    assert (cluttered.store / "train/going").exists()


@pytest.mark.slow
def test_a_kill_between_any_two_steps_leaves_a_store_that_reads(cluttered, tmp_path):
    """Each call that changes the disk fails in turn; what follows it is never done."""
    named = set(range(0, 60, 4)) | {1, 2}
    steps = 0
    for number in itertools.count():
        copy = Results(tmp_path / "copy" / "results")
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        shutil.copytree(cluttered.root, copy.root)
        calls = itertools.count()

        def dying(real, calls=calls, number=number):
            def call(*arguments, **options):
                if next(calls) >= number:
                    raise Killed
                return real(*arguments, **options)

            return call

        names = ("replace", "unlink", "rmdir", "fsync")
        patches = [patch.object(os, name, dying(getattr(os, name))) for name in names]
        try:
            with patches[0], patches[1], patches[2], patches[3]:
                collect(copy, delete=True)
        except Killed:
            steps += 1
            assert read(copy, named) == [row_of(n) for n in sorted(named)]
            assert all((copy.store / path).is_file() for path in STAY)
            collect(copy, delete=True)
            check_collected(copy)
        else:
            break
    assert steps > 25


@pytest.mark.slow
def test_kill_9_at_any_time_leaves_a_store_that_reads(tmp_path):
    parts = [list(range(i, i + 40)) for i in range(0, 8000, 40)]
    named = set(range(0, 8000, 3))
    results = make(tmp_path, {"0000": parts}, named)
    command = [sys.executable, "-m", "nano4m_audio.cli", "gc", str(results), "--delete"]
    kills = 0
    for pause_s in itertools.chain([0.0], (0.1 * 2**n for n in itertools.count())):
        before = set(results.store.rglob("*"))
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while process.poll() is None and set(results.store.rglob("*")) == before:
            time.sleep(0.01)  # its first step is to come
        try:
            process.wait(pause_s)
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            assert read(results, named) == [row_of(n) for n in sorted(named)]
    assert process.returncode == 0 and kills
    assert held(results) == {key_of(number) for number in named}
    assert not list((results.store / NAME / "0000").glob(".*.tmp.*"))


def test_nothing_goes_while_a_run_or_a_stage_is_at_work(tmp_path):
    results = make(tmp_path, {"0000": [[1, 2]]}, {1})
    before = files(results.root)
    with in_use(results.store), pytest.raises(UserError, match="is in use by a run"):
        collect(results, delete=True)
    with locked(results.store / NAME / "0000"), pytest.raises(UserError, match="is in use"):
        collect(results, delete=True)
    lock = tmp_path / ".snakemake/locks/0.output.lock"
    lock.parent.mkdir(parents=True)
    lock.write_text("results/report.html\n")
    with pytest.raises(UserError, match="a run is at work here"):
        collect(results, delete=True)
    assert files(results.root) == before
    assert collect(results, delete=False)[0]
    lock.unlink()
    collect(results, delete=True)
    assert held(results) == {key_of(1)}


def test_a_run_waits_for_the_clean_up(tmp_path):
    results = make(tmp_path, {"0000": [[1]]}, {1})
    code = (
        "import sys; from pathlib import Path; from nano4m_audio.locks import in_use\n"
        "handle = in_use(Path(sys.argv[1])); print('in')"
    )
    with locked(results.store):
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(results.store)], stdout=subprocess.PIPE, text=True
        )
        time.sleep(1.0)
        assert process.poll() is None
    assert process.communicate(timeout=20)[0] == "in\n"


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"PAR1 no table")])
def test_a_missing_or_damaged_table_keeps_all_rows_of_its_kind(tmp_path, damage):
    results = make(tmp_path, {"0000": [[1, 2]]}, {1})
    damage(results.table(NAME, "0000"))
    freed, found = collect(results, delete=True)
    assert freed == [] and held(results) == {key_of(1), key_of(2)}
    assert any(f"all of {NAME} counts as needed" in note for note in found.notes)


def test_a_run_that_the_config_names_and_that_is_not_there_keeps_all_trainings(cluttered):
    settings_file = cluttered.settings / "config-1.json"
    write_json(settings_file, {"experiments": {"base": {}, "next": {}}})
    write_json(cluttered.settings / "last.json", {"config": settings_file.name})
    _, found = collect(cluttered, delete=True)
    assert (cluttered.store / "train/old").is_dir()
    assert any("runs/next/run.json is not there" in note for note in found.notes)


def test_a_tokenizer_in_use_that_is_not_there_keeps_all_tokenizers(cluttered):
    for name in ("old", "named"):
        folder = cluttered.store / "tokenizers" / name
        write_json(folder / "run.json", {"key": name})
        seal(folder / "run.json")
    config = Config.model_validate(
        {"tokenize": {"rgb": "trained:mine"}, "tokenizers": {"mine": {"modality": "rgb"}}}
    )
    path = cluttered.settings / "config-1.json"
    path.parent.mkdir()
    path.write_text(config.model_dump_json())
    write_json(cluttered.settings / "last.json", {"config": path.name})
    _, found = collect(cluttered, delete=True)
    assert any("tokenizers/mine/run.json is not there" in note for note in found.notes)
    assert (cluttered.store / "tokenizers/old").is_dir()
    write_json(cluttered.tokenizer("mine") / "run.json", {"key": "named"})
    collect(cluttered, delete=True)
    assert {p.name for p in (cluttered.store / "tokenizers").iterdir()} == {"named"}


def test_a_config_of_another_version_keeps_what_it_would_name(cluttered):
    write_json(cluttered.settings / "config-1.json", {"tokenize": {}, "experiments": {}})
    write_json(cluttered.settings / "last.json", {"config": "config-1.json"})
    old = cluttered.store / "quality" / "old.json"
    write_json(old, {})
    _, found = collect(cluttered, delete=True)
    assert old.exists() and any("not of this version" in note for note in found.notes)


def test_what_was_refused_for_its_size_is_not_tried_again(tmp_path):
    results = make(tmp_path, {}, set())
    store = RowStore(results.store, "clips", "0000")
    rows = [
        {"key": "a", "status": "failed", "reason": str(Reason.OUT_OF_MEMORY), "message": ""},
        {"key": "b", "status": "failed", "reason": str(Reason.NO_AUDIO), "message": ""},
    ]
    store.append(rows)
    for name in ("clips", "verdicts", "selected"):
        write_rows(results.table(name, "0000"), name, [])
    collect(results, delete=True)
    assert RowStore(results.store, "clips", "0000").known().keys() == {"a"}


def test_temp_files_of_the_living_stay(tmp_path):
    results = make(tmp_path, {"0000": [[1]]}, {1})
    import socket

    mine = results.root / "scores" / f".x.json.tmp.{socket.gethostname()}-{os.getpid()}"
    dead = results.root / "scores" / f".x.json.tmp.{socket.gethostname()}-999999999"
    mine.write_bytes(b"1")
    dead.write_bytes(b"1")
    collect(results, delete=True)
    assert mine.exists() and not dead.exists()


def test_damaged_parts_are_left_to_the_next_run(tmp_path):
    results = make(tmp_path, {"0000": [[1, 2]]}, {1})
    (path,) = (results.store / NAME / "0000").glob("*.parquet")
    path.write_bytes(path.read_bytes()[:-1] + b"X")
    damaged = files(results.store)
    freed, found = collect(results, delete=True)
    assert freed == [] and files(results.store) == damaged
    assert any("is damaged" in note for note in found.notes)


def test_folders_that_are_not_known_are_left_alone(tmp_path):
    results = make(tmp_path, {}, set())
    strange = results.store / "later" / "x.json"
    write_json(strange, {})
    freed, found = collect(results, delete=True)
    assert freed == [] and strange.exists()
    assert any("is not known here" in note for note in found.notes)


def test_fetched_films_go_only_when_asked_for(tmp_path):
    results = make(tmp_path, {}, set())
    pieces = results.root / "web" / "pieces"
    for name in ("a/one.mp4", "a/two.mp4"):
        (pieces / name).parent.mkdir(parents=True, exist_ok=True)
        (pieces / name).write_bytes(b"film")
        write_json(pieces / f"{name}.json", {"size_bytes": 4})
    row = {"clip_id": "one@0", "video_id": "one", "class_name": "dog", "path": "a/one.mp4"}
    write_rows(results.table("candidates", "0000"), "candidates", [row])
    before = files(pieces)
    assert collect(results, delete=True)[0] == []
    assert files(pieces) == before
    (freed,) = collect(results, delete=True, options=Options(pieces=True))[0]
    assert (freed.kind, freed.count) == (PIECES, 1)
    assert set(files(pieces)) == {"a/one.mp4", "a/one.mp4.json"}


def test_sizes_add_up(cluttered, run_cli):
    uses, _ = usage(cluttered)
    whole = sum(path.stat().st_size for path in cluttered.root.rglob("*") if path.is_file())
    assert sum(use.size_bytes for use in uses) == whole
    by_name = {use.what: use for use in uses}
    assert by_name[f"store/{NAME}"].rows == 90
    assert by_name["store/train"].unnamed_bytes > 2000
    output = run_cli("du", str(cluttered))
    assert "store/train" in output and "total" in output


def test_the_command_says_what_it_does(cluttered, run_cli):
    output = run_cli("gc", str(cluttered))
    assert "nothing was removed" in output and f"{NAME}: " in output
    assert "removed about" in run_cli("gc", str(cluttered), "--delete")
    assert "nothing to remove" in run_cli("gc", str(cluttered), "--delete")


@pytest.fixture
def run_cli():
    from typer.testing import CliRunner

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(app, list(arguments))
        assert done.exit_code == 0, done.output
        return done.output

    return run


def test_a_folder_without_tables_is_one_line(tmp_path):
    with pytest.raises(UserError, match="there are no tables yet"):
        collect(Results(tmp_path), delete=False)


def test_the_last_config_is_read_as_it_was_written(tmp_path):
    results = make(tmp_path, {"0000": [[1]]}, {1})
    (results.settings).mkdir()
    (results.settings / "last.json").write_text(json.dumps({"config": "config-0.json"}))
    write_json(results.store / "train" / "old" / "run.json", {})
    _, found = collect(results, delete=True)
    assert any("config-0.json is not there" in note for note in found.notes)


@pytest.mark.parametrize("delete", [False, True])
def test_a_folder_without_tables_is_named_and_left_as_it_is(tmp_path, delete):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(UserError, match="there are no tables yet"):
            collect(Results(folder), delete)
    assert not list(tmp_path.iterdir())
