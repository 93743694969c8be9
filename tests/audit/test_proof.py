"""The proof holds for tables that agree, and names the clip of any that do not."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from nano4m_audio.audit.proof import check_claims, prove
from nano4m_audio.config.curate import ProofSettings, Split, Verdict
from nano4m_audio.errors import UserError
from nano4m_audio.report.collect import read_proof
from nano4m_audio.report.inputs import ReportInputs
from nano4m_audio.tables import read_rows, write_rows
from tests.audit.tables import BROKEN, COPY, GOOD, WRONG, N, name_of, write_results


def edit(results, name, clip, **change):
    """Change cells of a clip's row in whatever shard it is; a change to None drops the row."""
    paths = [results.split] if name == "split" else results.tables(name)
    for path in paths:
        rows = read_rows(path, name)
        new = [{**row, **change} if row["clip_id"] == name_of(clip) else row for row in rows]
        if not change:
            new = [row for row in rows if row["clip_id"] != name_of(clip)]
        if new != rows:
            write_rows(path, name, new)


def test_tables_that_agree_are_proved(tmp_path):
    results = write_results(tmp_path)
    prove(results, ProofSettings())
    claims = json.loads(results.proof.read_text())["claims"]
    checked = {claim["name"]: claim["checked"] for claim in claims}
    assert checked["verdicts"] == checked["counts"] == N
    assert checked["audio_min"] == checked["split"] == GOOD + 1  # the copy is accepted, too
    assert checked["tokens/rgb"] == checked["modalities"] == checked["selected"] == GOOD
    assert checked["numbers"] == N - 2
    assert [claim["name"] for claim in claims if claim["waived"]] == ["motion_min"]
    assert read_proof(ReportInputs({}, tmp_path)) == claims


SCORES = [[0.0, 0.0], [0.29, 0.29], [0.1, 0.1]]


@pytest.mark.parametrize(
    ("table", "clip", "change", "claim"),
    [
        ("verdicts", 3, {}, "verdicts"),
        ("verdicts", 3, {"clip_key": "other"}, "content"),
        ("media", 3, {"sha256": ""}, "content"),
        ("verdicts", 3, {"audio_score": 0.99}, "numbers"),
        ("scores/audio", 3, {"scores": SCORES}, "audio_min"),
        ("scores/visual", 3, {"cosines": [[0.0, 0.2], [0.0, 0.1]]}, "visual_min"),
        ("scores/speech", 3, {"speech_fraction": 0.1}, "speech_max"),
        ("clips", 3, {"level_dbfs": -70.0}, "level_min_dbfs"),
        ("verdicts", WRONG, {"reasons": ["speech"]}, "reasons"),
        ("verdicts", WRONG, {"accepted": True, "reasons": []}, "audio_min"),
        ("split", 3, {}, "split"),
        ("split", 3, {"split": "holdout"}, "split"),
        ("split", COPY, {"duplicate_of": "nobody"}, "split"),
        ("split", COPY, {"group": "another"}, "split"),
        ("split", 3, {"split": "train"}, "selected"),
        ("selected", 3, {"class_name": "cat"}, "selected"),
        ("labels/depth", 3, {}, "labels/depth"),
        ("tokens/rgb", 3, {}, "modalities"),
        ("tokens/audio", 3, {"tokens": None}, "tokens/audio"),
        ("tokens/caption", 3, {"tokens": []}, "tokens/caption"),
        ("tokens/rgb", 3, {"status": "failed", "reason": "no idea"}, "tokens/rgb"),
    ],
)
def test_a_table_that_disagrees_stops_the_run_and_names_the_clip(
    tmp_path, table, clip, change, claim
):
    results = write_results(tmp_path)
    edit(results, table, clip, **change)
    wrong = {c.name: c.wrong for c in check_claims(results, ProofSettings()) if c.wrong}
    assert name_of(clip) in wrong[claim]
    with pytest.raises(UserError) as error:
        prove(results, ProofSettings())
    assert name_of(clip) in str(error.value) and "\n" not in str(error.value)
    assert not results.proof.exists()


def test_a_video_in_two_splits_is_found_unless_the_config_allows_it(tmp_path):
    results = write_results(tmp_path)
    edit(results, "split", 3, video_id="video00_____", group=name_of(0))
    with pytest.raises(UserError, match=r"no group of copies is in two splits: video00_____@0"):
        prove(results, ProofSettings())
    prove(results, ProofSettings(split=Split(unit="clip")))
    claims = {c["name"]: c for c in json.loads(results.proof.read_text())["claims"]}
    assert "split.unit is clip" in claims["videos"]["waived"]


def test_thresholds_of_single_classes_are_proved_as_they_are(tmp_path):
    own = Verdict(per_class={"dog": {"audio_min": 0.05}})
    results = write_results(tmp_path, own)
    prove(results, ProofSettings(verdict=own))
    with pytest.raises(UserError, match="audio_min"):
        prove(results, ProofSettings())


def test_a_class_that_no_model_knows_is_not_held_to_its_threshold(tmp_path):
    results = write_results(tmp_path)
    edit(results, "scores/audio", 3, labels=["cow", "pig"])
    edit(results, "verdicts", 3, audio_score=None)
    edit(results, "verdicts", 3, window_start_s=0.0)
    checked = {c.name: c.checked for c in check_claims(results, ProofSettings())}
    assert checked["audio_min"] == GOOD and checked["visual_min"] == GOOD + 1
    prove(results, ProofSettings())


def test_the_command_ends_with_one_line(tmp_path):
    results = write_results(tmp_path / "r")
    edit(results, "scores/audio", 3, scores=SCORES)
    command = [sys.executable, "-m", "nano4m_audio.cli", "proof", "--results", str(results)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and not results.proof.exists()
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: proof: it is not true that verdicts hold the numbers")
    assert name_of(3) in line and name_of(BROKEN) not in line
