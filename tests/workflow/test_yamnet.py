"""configs/yamnet.yaml on top of folder.yaml: a real tagger and speech detector sort real clips."""

from __future__ import annotations

import csv
import shutil

import pytest
import yaml

from nano4m_audio.cli.app import main
from nano4m_audio.tables import read_rows
from tests.conftest import ROOT
from tests.workflow.conftest import Project

pytestmark = pytest.mark.slow

#: What may reject a clip of each kind; a good clip is rejected by nothing.
REASONS = {
    "good": set(),
    "silent": {"silent", "audio_low"},
    "noise": {"audio_low"},
    "wrong_sound": {"audio_low"},
    "speech": {"speech"},
}


def test_silence_noise_speech_and_wrong_sounds_are_rejected_and_good_clips_kept(
    shared, tmp_path, monkeypatch
):
    with open(shared / "media/clips.csv", newline="") as handle:
        rows = [row for row in csv.DictReader(handle) if row["kind"] in REASONS]
    good = [row for row in rows if row["kind"] == "good"]
    rows = good[::5] + [row for row in rows if row["kind"] != "good"]
    with open(tmp_path / "clips.csv", "w", newline="") as handle:
        writer = csv.DictWriter(handle, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        (tmp_path / row["file"]).parent.mkdir(exist_ok=True)
        shutil.copy(shared / "media" / row["file"], tmp_path / row["file"])

    values = yaml.safe_load((ROOT / "configs/folder.yaml").read_text())
    project = Project.make(tmp_path / "project", {**values, "folder": {"root": str(tmp_path)}})
    shutil.copy(ROOT / "configs/yamnet.yaml", project.folder)
    monkeypatch.setenv("NANO4M_AUDIO_CACHE", str(tmp_path / "cache"))
    files = [str(shared / "models" / name) for name in ("yamnet.tflite", "yamnet_class_map.csv")]
    monkeypatch.setattr("sys.argv", ["nano4m-audio", "weights", "add", "yamnet", *files])
    with pytest.raises(SystemExit, match="0"):
        main()
    tables = [f"results/verdicts/{shard:04d}.parquet" for shard in range(values["n_shards"])]
    project.run(*tables, "--configfile", "overlay.yaml", "yamnet.yaml")

    kinds = {row["file"]: row["kind"] for row in rows}
    verdicts = {}
    for table in tables:
        candidates = read_rows(
            project.folder / table.replace("verdicts", "candidates"), "candidates"
        )
        paths = {row["clip_id"]: row["path"] for row in candidates}
        for row in read_rows(project.folder / table, "verdicts"):
            verdicts[paths[row["clip_id"]]] = set(row["reasons"])
    assert len(verdicts) == len(rows) == 12 + 3 + 2 + 5 + 6
    assert {path: REASONS[kinds[path]] for path in verdicts} == verdicts
