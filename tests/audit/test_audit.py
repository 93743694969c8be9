"""An audit finds what was planted, says what it could not check, and treats manifests as data."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from nano4m_audio.audit.audit import audit, read_limits
from nano4m_audio.audit.lists import read_lists
from nano4m_audio.audit.manifest import Manifest, build, read_manifest
from nano4m_audio.cli.app import app
from nano4m_audio.config.curate import Verdict
from nano4m_audio.errors import UserError
from nano4m_audio.filters import FILTERS
from nano4m_audio.paths import Results
from nano4m_audio.settings_files import SettingsFiles
from nano4m_audio.shards import set_shards
from tests.report.fake import Fate, write_results

HOSTILE = "<script>[red]\x1b[2J=cmd|'/c calc'!A1"


def found(result: dict[str, Any]) -> dict[str, int]:
    return {c["name"]: c["found"] for c in result["checks"] if not c["not_checked"]}


def made(rows: list[dict[str, Any]]) -> Manifest:
    names = list(dict.fromkeys(name for row in rows for name in row))
    return build("made", names, [(f"row {i}", row) for i, row in enumerate(rows)])


@pytest.fixture(scope="module")
def paper(shared: Path) -> Path:
    return shared / "metadata" / "paper"


@pytest.fixture(scope="module")
def published(paper: Path) -> dict[str, Any]:
    """The published manifest against the published splits and the public lists."""
    lists = paper.parent
    index = read_lists(
        [*sorted((lists / "audioset").glob("*segments.csv")), lists / "vggsound" / "test.csv"]
    )
    splits = read_manifest(paper / "splits_partial.json")
    return {
        "manifest": audit(read_manifest(paper / "final_manifest.csv"), [splits], index),
        "splits": audit(splits, (), index),
    }


def test_the_published_manifest_breaks_its_thresholds(published, paper):
    result = published["manifest"]
    assert (result["rows"], result["videos"]) == (1391, 1367)
    numbers = found(result)
    assert (numbers["audio_min"], numbers["visual_min"], numbers["any_threshold"]) == (58, 103, 161)
    assert numbers["speech_max"] == 0
    texts = {c["name"]: c["text"] for c in result["checks"]}
    assert "least 0.2505" in texts["audio_min"] and "horse 55; sheep 3" in texts["audio_min"]
    assert "least 0.2205" in texts["visual_min"] and "horse 65; sheep 38" in texts["visual_min"]
    assert "0 of them several" in texts["any_threshold"]
    assert found(audit(read_manifest(paper / "manifest_test.csv")))["any_threshold"] == 21
    counts: dict[str, int] = {}
    for row in result["counts"]:
        counts[row["source"]] = counts.get(row["source"], 0) + row["rows"]
    assert counts == {"audioset": 887, "audioset+vggsound": 420, "vggsound": 84}


def test_the_published_manifest_repeats_videos(published):
    numbers, texts = found(published["manifest"]), published["manifest"]["checks"]
    assert numbers["several_starts"] == 22
    assert "22 videos have 46 rows" in {c["text"] for c in texts}
    assert numbers["overlaps"] == numbers["window_overlaps"] == 1


def test_the_published_splits_leak(published):
    """Of the training stems 5,850 are known by the first five characters of their ids only: 8 of
    the 15 leaks, and 49 of the 75 videos stored twice, are found by these."""
    checks = {c["name"]: c for c in published["splits"]["checks"]}
    assert checks["leak_train_test"]["found"] == 15
    assert "8 of them by the beginning" in checks["leak_train_test"]["text"]
    assert "18 of 938 rows of test" in checks["leak_train_test"]["text"]
    assert checks["leak_train_val"]["found"] == 10
    assert checks["leak_val_test"]["found"] == 1
    assert checks["several_sources"]["found"] == 75
    told = {item["video"] for item in checks["leak_train_test"]["items"]}
    assert {"366PkocrdNE", "y3Zd1Vc48Xg", "387WVkfK-5w", "z9jfbDnKBAo"} <= told


def test_the_published_sources_contradict_the_lists(published):
    """Here 33 videos of AudioSet have several starts and not 126: the other 93 are told by ids of
    which the published page shows five characters, and no start."""
    checks = {c["name"]: c for c in published["splits"]["checks"]}
    assert checks["not_in_audioset"]["checked"] == 2745
    assert "12 of them are clips of vggsound" in checks["not_in_audioset"]["text"]
    assert checks["audioset_segments"]["found"] == 33


def test_the_older_split_is_by_row_and_leaks(paper, published):
    halves = [read_manifest(paper / f"manifest_{name}.csv") for name in ("train", "test")]
    result = audit(read_manifest(paper / "final_manifest.csv"), halves)
    checks = {c["name"]: c for c in result["checks"]}
    assert {item["video"] for item in checks["leak_train_test"]["items"]} == {
        "05sksuAixjY", "4ufLjQfuEAI", "7YGUQYRwnHs", "8mumbyJ0ZhU", "E8XJUGEllzM",
    }  # fmt: skip
    assert checks["not_in_manifest"]["found"] == checks["not_in_splits"]["found"] == 0
    inside = {c["name"]: c for c in published["manifest"]["checks"]}["not_in_splits"]
    assert "275 have their video there; horse 178; sheep 97" in inside["text"]


def test_a_results_folder_is_judged_by_the_thresholds_of_its_run(tmp_path):
    inputs = write_results(tmp_path, [Fate("pig"), Fate("dog"), Fate("cat")], runs=())
    set_shards(inputs.results, 2)
    results = Results(inputs.results)
    settings = SettingsFiles(results.settings)
    shutil.rmtree(results.settings, ignore_errors=True)
    manifest = read_manifest(results.root)
    assert not manifest.ignored, "every column of a results folder is known"
    names = {row.key for row in FILTERS}
    done = {c["name"] for c in audit(manifest)["checks"] if not c["not_checked"]}
    assert not done & names and "no run says its thresholds" in " ".join(manifest.notes)

    settings.path("verdict", Verdict(audio_min=1.0, per_class={"dog": {"audio_min": 0.0}}))
    settings.write()
    (check,) = [c for c in audit(read_manifest(results.root))["checks"] if c["name"] == "audio_min"]
    assert check["found"] == 2 and "below 1, dog 0 (" in check["text"]
    given = audit(read_manifest(results.root), limits={"audio_min": 0.0})
    assert found(given)["audio_min"] == 0


def test_what_cannot_be_checked_is_said():
    checks = audit(made([{"video_id": "a", "colour": "red"}]))
    missing = {c["name"]: c["not_checked"] for c in checks["checks"] if c["not_checked"]}
    assert {"audio_min", "overlaps", "leaks", "several_sources", "sources"} <= missing.keys()
    assert checks["ignored"] == ["colour"]


def test_a_row_without_a_number_breaks_the_threshold_and_is_counted():
    rows = [{"video_id": str(i), "pann_score": v} for i, v in enumerate(["0.3", "", "nan", "x"])]
    (check,) = [c for c in audit(made(rows))["checks"] if c["name"] == "audio_min"]
    assert (check["found"], "3 of them without a number" in check["text"]) == (3, True)


def test_a_value_on_the_threshold_is_kept():
    row = {"video_id": "a", "audio_score": 0.3, "visual_score": 0.25, "speech_fraction": 0.0}
    assert found(audit(made([row])))["any_threshold"] == 0


def test_thresholds_given_go_before_those_stated():
    manifest = made([{"video_id": "a", "audio_score": 0.4}])
    assert found(audit(manifest, limits=read_limits(["audio_min=0.5, visual_min=null"])))[
        "audio_min"
    ]
    with pytest.raises(UserError, match="did you mean 'audio_min'"):
        read_limits(["audio_mn=0.5"])
    with pytest.raises(UserError, match="no number"):
        read_limits(["audio_min=high"])


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 60), st.integers(1, 20)), max_size=12)
)
def test_every_pair_of_overlapping_clips_is_found_once(clips):
    rows = [{"video_id": v, "start_s": s, "end_s": s + n} for v, s, n in clips]
    expected = sum(
        a[0] == b[0] and max(a[1], b[1]) < min(a[1] + a[2], b[1] + b[2])
        for i, a in enumerate(clips)
        for b in clips[:i]
    )
    numbers = found(audit(made(rows))) if rows else {"overlaps": 0}
    assert numbers["overlaps"] == expected


@given(st.permutations(["train", "val", "test", "train", "test"]))
def test_videos_in_two_splits_are_found_in_any_order(splits):
    rows = [{"video_id": v, "split": s} for v, s in zip("aabbc", splits, strict=True)]
    numbers = found(audit(made(rows)))
    leaks = sum(n for name, n in numbers.items() if name.startswith("leak_"))
    assert leaks == (splits[0] != splits[1]) + (splits[2] != splits[3])


def test_a_folder_s_list_of_clips_is_a_manifest(tmp_path):
    rows = [
        ("a/dQw4w9WgXcQ_000010.mp4", "cat"),
        ("a/dQw4w9WgXcQ_000015.mp4", "cat"),
        ("b.mp4", "dog"),
    ]
    with open(tmp_path / "clips.csv", "w", newline="") as handle:
        csv.writer(handle).writerows([("file", "class"), *rows])
    result = audit(read_manifest(tmp_path))
    assert found(result)["several_starts"] == found(result)["overlaps"] == 1
    assert "1 tell none" in result["notes"][0]


def test_source_prefixes_are_no_part_of_an_id(tmp_path):
    """Only where an id and a start follow: ids may begin with the same letters."""
    path = tmp_path / "splits.json"
    names = {
        "train": ["as_dQw4w9WgXcQ_000010"],
        "test": ["vgg_dQw4w9WgXcQ_000010", "as_12345678_000030"],
    }
    path.write_text(json.dumps(names))
    checks = {c["name"]: c for c in audit(read_manifest(path))["checks"]}
    assert [item["video"] for item in checks["leak_train_test"]["items"]] == ["dQw4w9WgXcQ"]
    assert "1 with the same start" in checks["leak_train_test"]["text"]
    assert {r.video_id for r in read_manifest(path).rows} == {"dQw4w9WgXcQ", "as_12345678"}


def test_the_public_lists_are_manifests_too(shared):
    metadata = shared / "metadata"
    sound = audit(read_manifest(metadata / "audioset" / "eval_segments.csv"))
    assert sound["rows"] == sound["videos"] == 20371 and found(sound)["overlaps"] == 0
    both = audit(read_manifest(metadata / "vggsound" / "test.csv"))
    assert both["rows"] == 15446 and both["columns"]["class_name"] == "class"


@pytest.mark.parametrize("end", [",30,cat,test", "_000030.mp4,cat", ",30.0,cat"])
def test_a_list_without_names_of_columns_is_read_as_vggsound_s(tmp_path, end):
    (tmp_path / "list.csv").write_text(f"dQw4w9WgXcQ{end}\n-Qw4w9WgXcQ{end}\n")
    rows = read_manifest(tmp_path / "list.csv").rows
    assert [row.clip for row in rows] == ["dQw4w9WgXcQ@30", "-Qw4w9WgXcQ@30"]
    assert {row.class_name for row in rows} == {"cat"}


def run(*arguments: str):
    return CliRunner().invoke(app, ["audit", *arguments])


def test_the_command_prints_writes_json_and_is_strict_if_asked(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text(f'youtube_id,start_s,class,pann_score\na,0,"{HOSTILE}",0.1\n=b,0,cat,0.9\n')
    done = run(str(path), "--json", str(tmp_path / "out.json"))
    assert done.exit_code == 0, done.output
    assert "1 below 0.3" in " ".join(done.output.split()) and "\x1b[2J" not in done.output
    result = json.loads((tmp_path / "out.json").read_text())
    assert found(result)["audio_min"] == 1
    assert run(str(path), "--strict").exit_code == 1
    assert run(str(path), "--strict", "--thresholds", "audio_min=0").exit_code == 0
    path.write_text("youtube_id,start_s\na,0\na,60\n")  # two clips of a video are no fault
    assert run(str(path), "--strict").exit_code == 0


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("nothing.csv", None),
        ("empty.csv", b""),
        ("binary.csv", bytes(range(256)) * 9),
        ("other.csv", b"colour,size\nred,1\n"),
        ("x.json", b"[1, 2]"),
        ("deep.json", b"[" * 100_000),
        ("number.json", b'{"train": 7}'),
        ("x.parquet", b"PAR1 not at all"),
        ("huge.csv", b"video_id\n" + b"a" * 300_000),
    ],
)
def test_what_is_no_manifest_is_one_line(tmp_path, name, content):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as error:
        audit(read_manifest(path))
    assert "\n" not in str(error.value) and name in str(error.value)
