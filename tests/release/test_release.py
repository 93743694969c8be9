"""A release tells everything but media, the same bytes each time; verify believes only hashes."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import tarfile
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from nano4m_audio.audit.audit import audit
from nano4m_audio.audit.manifest import read_manifest, unescaped
from nano4m_audio.cli.app import app
from nano4m_audio.config.reading import parse_workflow
from nano4m_audio.errors import UserError
from nano4m_audio.paths import Results
from nano4m_audio.release.build import RELEASE_FILES, build_release
from nano4m_audio.release.rows import SCHEMA, csv_text, plain_name, read_release
from nano4m_audio.release.verify import verify
from nano4m_audio.tables import read_rows, write_rows
from tests.audit.tables import COPY, GONE, GOOD, WRONG, N, name_of, write_results
from tests.conftest import ROOT

CONFIG = {
    "source": "folder",
    "folder": {"root": "media"},
    "classes": ["cat", "dog"],
    "report": {"title": "My | <b>set</b>"},
    "n_shards": 2,
}
HOSTILE = ("../../etc/passwd", "/etc/passwd", "~/x", "C:\\x", "\\\\host\\x", "file:///x", "a/../b")


def released(folder, **config) -> Results:
    results = write_results(folder)
    build_release(results, parse_workflow(CONFIG | config).model_dump(mode="json"))
    return results


@pytest.fixture
def results(tmp_path) -> Results:
    return released(tmp_path / "results")


def rows_of(results) -> dict[str, dict]:
    table = pq.read_table(results.release / "clips.parquet")
    return {row["clip_id"]: row for row in table.to_pylist()}


def test_every_candidate_is_in_it_with_its_fate(results):
    rows = rows_of(results)
    assert len(rows) == N
    assert rows[name_of(WRONG)]["reasons"] == ["audio_low"] and not rows[name_of(WRONG)]["split"]
    assert rows[name_of(GONE)]["reasons"] == ["missing_file"]
    assert rows[name_of(GONE)]["media_sha256"] == ""
    assert rows[name_of(COPY)]["duplicate_of"] == name_of(0)
    good = rows[name_of(3)]
    assert (good["split"], good["start_s"], good["end_s"]) == ("val", 3.0, 13.0)
    assert good["media_sha256"] == f"{3:064x}" and good["window_start_s"] == 0.5
    assert len(good["keyframe_times_s"]) == 10 and good["audio_score"] == pytest.approx(0.53)
    words = np.array([7, 8, 9, 10], "<u2").tobytes()
    assert good["rgb_tokens_sha256"] == hashlib.sha256(words).hexdigest()
    caption = np.array([1, 2, 3], "<u2").tobytes()
    assert good["caption_tokens_sha256"] == hashlib.sha256(caption).hexdigest()
    assert rows[name_of(WRONG)]["rgb_tokens_sha256"] == ""


def test_equal_tables_give_equal_bytes_and_no_byte_tells_of_this_machine(results, tmp_path):
    again = released(tmp_path / "another" / "place")
    for name in RELEASE_FILES:
        content = (results.release / name).read_bytes()
        assert content == (again.release / name).read_bytes(), name
        assert not re.search(rb"secret|/home|/tmp|/work|https?://", content), name
    assert {path.name for path in results.release.iterdir()} == set(RELEASE_FILES)


def test_the_card_counts_what_the_tables_hold(results):
    card = (results.release / "README.md").read_text()
    facts = json.loads((results.release / "release.json").read_text())
    assert "| cat | 3 | 1 | 1 | 5 |" in card and "| dog | 3 | 1 | 1 | 5 |" in card
    assert facts["counts"] == {"candidates": N, "accepted": GOOD + 1, "complete": GOOD}
    assert facts["thresholds"]["audio_min"] == 0.3
    assert (
        "| `audio_min` | at least 0.3 |" in card and "ICASSP 2017" in card and "ICASSP 2020" in card
    )
    assert "<b>" not in card and r"My \| &lt;b&gt;set&lt;/b&gt;" in card
    assert facts["models"]["tokenize.rgb"]["identity"] in card.replace("\\", "")
    for name, digest in facts["sha256"].items():
        assert hashlib.sha256((results.release / name).read_bytes()).hexdigest() == digest


def test_synthetic_clips_are_free_whatever_data_set_they_claim(tmp_path):
    card = (released(tmp_path, source="barnyard").release / "README.md").read_text()
    assert "free of rights of others" in card and "ICASSP" not in card


def test_the_card_cites_what_the_repository_asks_for(results):
    asked = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    card = (results.release / "README.md").read_text()
    (author,) = asked["authors"]
    assert f"{author['name']}, {asked['title']}, version {asked['version']}" in card


def test_a_class_with_thresholds_of_its_own_is_named(tmp_path):
    results = released(tmp_path, verdict={"per_class": {"dog": {"audio_min": 0.2}}})
    assert "dog has its own: `audio_min` 0.2." in (results.release / "README.md").read_text()


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@given(st.sampled_from(["", "=", "+", "-", "@", "'", "\t", "''"]), TEXT)
def test_no_cell_of_the_csv_is_a_formula_and_ids_come_back(start, text):
    row = {"clip_id": start + text, "level_dbfs": -20.5, "reasons": ["speech"], "accepted": False}
    (cells,) = csv.DictReader(io.StringIO(csv_text([row]), newline=""))
    assert not re.match(r"[=+\-@\t\r]", cells["clip_id"])
    assert unescaped(cells)["clip_id"] == start + text
    assert (cells["level_dbfs"], cells["reasons"], cells["accepted"]) == (
        "-20.5",
        "speech",
        "false",
    )


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_that_leaves_its_folder_is_not_told(name):
    assert plain_name(name) == ""
    assert plain_name("a/..b/c.mp4") == "a/..b/c.mp4"


def test_the_csv_alone_is_read_as_the_parquet_file_is(results):
    columns = [name for name in SCHEMA.names if name != "keyframe_times_s"]
    exact = read_release(results.release, columns)
    (results.release / "clips.parquet").unlink()
    plain = read_release(results.release, columns)
    for one, other in zip(exact, plain, strict=True):
        assert one == other


def test_an_audit_reads_a_release_with_its_thresholds(results):
    found = audit(read_manifest(results.release))
    assert found["rows"] == GOOD + 1 and found["thresholds"]["visual_min"] == 0.25
    by_name = {c["name"]: c for c in found["checks"]}
    assert by_name["any_threshold"]["found"] == by_name["leak_train_test"]["found"] == 0
    assert not by_name["any_threshold"]["not_checked"]


def test_a_member_of_an_archive_has_no_file_of_its_own(results):
    path = results.table("candidates", "0001")
    rows = read_rows(path, "candidates")
    rows[0] |= {"path": "part0.tar", "byte_start": 512, "byte_count": 100}
    write_rows(path, "candidates", rows)
    build_release(results, parse_workflow(CONFIG).model_dump(mode="json"))
    assert [row["file"] for row in rows_of(results).values()].count("") == 1


# Verify


def with_media(results, tmp_path):
    """Real files for the clips 0 to 9: their sizes and hashes are put into the media tables."""
    folder = tmp_path / "media"
    (folder / "clips").mkdir(parents=True)
    for path in results.tables("media"):
        rows = read_rows(path, "media")
        for row in rows:
            i = int(row["clip_id"].rpartition("@")[2])
            if i < GOOD:
                content = bytes([i]) * (50 + i)
                (folder / f"clips/video{i:02d}______{i:06d}.mp4").write_bytes(content)
                row |= {"size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        write_rows(path, "media", rows)
    build_release(results, parse_workflow(CONFIG).model_dump(mode="json"))
    return folder


def states(result) -> dict[int, str]:
    return {int(c["clip_id"].rpartition("@")[2]): c["state"] for c in result["clips"]}


def test_a_folder_is_compared_by_hash_then_by_name_and_id(results, tmp_path):
    folder = with_media(results, tmp_path)
    files = sorted((folder / "clips").iterdir())
    files[1].rename(folder / "renamed.bin")  # the same bytes under another name
    files[2].write_bytes(b"cut again")  # the same name, other bytes
    files[3].rename(folder / files[3].name)
    (folder / files[3].name).write_bytes(b"id and start in the name")
    files[4].unlink()
    files[5].unlink()
    files[5].symlink_to("/etc/passwd")
    result = verify(results.release, folder=folder)
    found = states(result)
    assert [found[i] for i in range(7)] == [
        "same", "same", "other", "other", "missing", "missing", "same"
    ]  # fmt: skip
    assert found[COPY] == "missing" and WRONG not in found
    assert result["notes"] == []
    cats, dogs = result["classes"]
    assert (cats["class"], cats["clips"], cats["same"]) == ("cat", 6, 3)
    assert sum(row["clips"] for row in result["classes"]) == len(found)
    assert states(verify(results.release, folder=folder, every=True))[GONE] == "unknown"


@pytest.mark.parametrize(("ending", "mode"), [("tar", "w"), ("tar.gz", "w:gz")])
def test_members_of_archives_count_in_a_mirror(
    results, tmp_path, ending, mode: Literal["w", "w:gz"]
):
    folder = with_media(results, tmp_path)
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    with tarfile.open(mirror / f"part0.{ending}", mode) as archive:
        archive.add(folder / "clips", "../..//clips")
    (mirror / "broken.tar").write_bytes(b"no archive")
    result = verify(results.release, mirror=mirror)
    assert [state for i, state in states(result).items() if i < GOOD] == ["same"] * GOOD
    assert "broken.tar cannot be read" in result["notes"][0]
    assert "missing" in states(verify(results.release, folder=mirror)).values()
    assert not (tmp_path / "clips").exists()


def test_other_results_are_compared_in_media_and_tokens(results, tmp_path):
    other = write_results(tmp_path / "other")
    path = other.table("tokens/depth", "0001")
    rows = read_rows(path, "tokens/depth")
    rows[0]["tokens"] = [[7, 8], [9, 11]]
    write_rows(path, "tokens/depth", rows[:-1])
    result = verify(results.release, results=other)
    assert set(states(result).values()) == {"same"}
    assert result["tokens"]["rgb"] == {"same": GOOD, "other": 0, "missing": 0}
    assert result["tokens"]["depth"] == {"same": GOOD - 2, "other": 1, "missing": 1}


def test_a_list_that_was_changed_is_said(results, tmp_path):
    path = results.release / "clips.csv"
    path.write_text(path.read_text().replace('"val"', '"test"'))
    result = verify(results.release, folder=tmp_path)
    assert result["notes"] == ["clips.csv is not the file that release.json describes"]


def test_what_a_hostile_release_names_is_never_opened(tmp_path):
    release, folder = tmp_path / "release", tmp_path / "media"
    release.mkdir()
    folder.mkdir()
    names = [*HOSTILE, "<script>alert(1)</script>", "\x1b[2J[red]", "=cmd|'/c calc'!A1", "x" * 9999]
    rows = [
        {
            **dict.fromkeys(SCHEMA.names),
            "clip_id": name, "video_id": name, "class_name": name, "file": name,
            "accepted": True, "media_bytes": -1, "media_sha256": "0" * 64,
        }
        for name in names
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), release / "clips.parquet")
    (release / "release.json").write_text("[" * 3)
    with pytest.raises(UserError, match=r"release\.json is not JSON"):
        verify(release, folder=folder)
    (release / "release.json").write_text('{"sha256": [1]}')
    done = CliRunner().invoke(app, ["verify", str(release), "--folder", str(folder)])
    assert done.exit_code == 0 and "\x1b[2J" not in done.output
    result = verify(release, folder=folder)
    assert set(c["state"] for c in result["clips"]) == {"missing"}


def test_what_is_no_release_is_one_line(tmp_path):
    for name, content in (("clips.parquet", b"PAR1"), ("clips.csv", b"a,b\n1,2\n")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_bytes(content)
        with pytest.raises(UserError) as error:
            verify(folder, folder=tmp_path)
        assert "\n" not in str(error.value)
    table = pa.table({"clip_id": [1, 2]})
    pq.write_table(table, tmp_path / "clips.parquet" / "clips.parquet")
    with pytest.raises(UserError, match="no column 'clip_id' of type string"):
        verify(tmp_path / "clips.parquet", folder=tmp_path)
    with pytest.raises(UserError, match="name one of --folder, --mirror and --results"):
        verify(tmp_path)


def test_the_command_is_strict_if_asked(results, tmp_path):
    folder = with_media(results, tmp_path)
    command = ["verify", str(results.release), "--folder", str(folder), "--json"]
    done = CliRunner().invoke(app, [*command, str(tmp_path / "out.json")])
    assert done.exit_code == 0 and "missing" in done.output
    assert json.loads((tmp_path / "out.json").read_text())["classes"][1]["same"] == 5
    assert CliRunner().invoke(app, [*command[:-1], "--strict"]).exit_code == 1
