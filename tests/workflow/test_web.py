"""The barnyard behind a server: through source: web the same dataset as through source: folder."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from nano4m_audio.barnyard.build import build
from nano4m_audio.fetch import ledger
from nano4m_audio.tables import read_rows
from tests.fetch.server import Answer, media, serving, status
from tests.fetch.test_stage import FAST
from tests.workflow.conftest import Project

CLIPS, CLIP_S = 22, 4.5
MINI: dict[str, Any] = {
    "n_shards": 2,
    "verdict": {"visual_min": 0.4, "speech_max": 0.1},
    "score": {"audio": {"backend": "mini"}, "visual": {"backend": "mini"}},
    "label": {"depth": "mini", "normals": "mini"},
    "tokenize": dict.fromkeys(["rgb", "depth", "normals", "audio"], "mini"),
    "experiments": {"base": {"preset": "demo"}},
}
SPLIT = "results/split.parquet"
TOKENS = [f"results/tokens/{name}/{shard}.parquet"
          for name in ("rgb", "audio", "depth", "normals", "caption")
          for shard in ("0000", "0001")]  # fmt: skip


def video_id(number: int) -> str:
    return f"barnyard{number:03d}"


def read_list(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of films with a list whose videos have names like those of a video site."""
    folder = tmp_path_factory.mktemp("films")
    build(folder / "world", purpose="test", seed=5, clips=CLIPS, clip_s=CLIP_S, fps=4, workers=2,
          defect_fraction=0.1)  # fmt: skip
    rows = read_list(folder / "world/clips.csv")
    with open(folder / "clips.csv", "w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["file", "class", "video_id", "source"])
        for number, row in enumerate(rows):
            shutil.copy(folder / "world" / row["file"], folder / f"{number}.mp4")
            writer.writerow([f"{number}.mp4", row["class"], video_id(number), "films"])
    return folder


def answers(films: Path) -> dict[str, Answer]:
    return {f"/{path.name}": media(path.read_bytes()) for path in films.glob("*.mp4")}


def write_list(films: Path, path: Path, url: str, *, start_s: float = 0.0) -> None:
    rows = read_list(films / "clips.csv")
    with open(path, "w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["video_id", "url", "start_s", "end_s", "class"])
        for row in rows:
            address = f"{url}/{row['file']}"
            writer.writerow([row["video_id"], address, start_s, CLIP_S, row["class"]])


def web_project(folder: Path, **web: Any) -> Project:
    settings = {**FAST, "segments_csvs": ["films.csv"], **web}
    return Project.make(folder, {"source": "web", "web": settings, **MINI})


@pytest.mark.slow
def test_the_web_gives_what_the_folder_gives(films, tmp_path):
    config = {"source": "folder", "folder": {"root": str(films)}, **MINI}
    by_folder = Project.make(tmp_path / "folder", config)
    by_folder.run(SPLIT, *TOKENS)
    by_web = web_project(tmp_path / "web")
    with serving(answers(films)) as server:
        write_list(films, by_web.folder / "films.csv", server.url)
        by_web.run(SPLIT, *TOKENS)
        n_asked = len(server.seen)
        again = by_web.run(SPLIT, *TOKENS)
        assert "Nothing to be done" in again and len(server.seen) == n_asked
    wanted = {k: v for k, v in by_folder.artifacts().items() if not k.startswith("candidates")}
    got = by_web.artifacts()
    assert [name for name, content in wanted.items() if got[name] != content] == []
    names = {attempt.name for attempt in ledger.read_attempts(by_web.results / "web/ledger")}
    assert names == {"ok"}


@pytest.mark.slow
def test_a_wall_in_the_middle_and_what_is_there_goes_on(films, tmp_path):
    breaker = {"walls": 2, "among": 4, "pauses_min": []}
    project = web_project(tmp_path / "web", breaker=breaker)
    walled = {name: status(429) for name in sorted(answers(films))[6:]}
    with serving({**answers(films), **walled}) as server:
        write_list(films, project.folder / "films.csv", server.url)
        output = project.run("results/media/0000.parquet", check=False)
        assert "the same command goes on" in output and "Traceback" not in output
        fetched = [f for f in (project.results / "web/pieces").rglob("*") if not f.suffix]
        partial = project.run("results/media/0000.parquet", "results/media/0001.parquet",
                              "--config", "web.partial=true")  # fmt: skip
        assert not re.search("error", partial)
    rows = [row for n in ("0000", "0001")
            for row in read_rows(project.results / f"media/{n}.parquet", "media")]  # fmt: skip
    assert len(rows) == CLIPS
    assert {row["reason"] for row in rows} <= {"", "not_fetched_yet"}
    assert sum(row["status"] == "ok" for row in rows) == len([f for f in fetched if f.is_file()])
