"""A disk that fails once: the next run reads the file again; then there is nothing to do."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

from nano4m_audio.acquire.retry import attempt, record_attempt
from nano4m_audio.config.sources import Folder
from nano4m_audio.paths import Results
from nano4m_audio.tables import write_rows
from tests.acquire.conftest import _film as film
from tests.workflow.conftest import Project

#: Opening fails in every Python process that finds this on its path: in decode's child as well.
BAD_DISK = """
import os
real = os.open
def bad(path, *arguments, **more):
    if str(path).endswith("b.mp4") and (os.environ["FAULT"] == "child") == (CHILD in sys.orig_argv):
        raise OSError(5, "Input/output error")
    return real(path, *arguments, **more)
import sys
CHILD = "from nano4m_audio.acquire.child import serve; serve()"
os.open = bad
"""


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "stage"), [("parent", "media"), ("child", "clips")])
def test_a_fault_of_the_disk_is_gone_with_the_next_run(tmp_path, fault, stage):
    clips = tmp_path / "my clips"
    clips.mkdir()
    rng = np.random.default_rng(0)
    for name in "ab":
        sound = rng.normal(0, 0.1, (1, 128_000)).astype(np.float32)
        film(clips / f"{name}.mp4", sound=sound)
    (clips / "clips.csv").write_text("file,class\na.mp4,dog\nb.mp4,cat\n")
    overlay = {"source": "folder", "folder": {"root": str(clips)}, "n_shards": 1}
    project = Project.make(tmp_path / "project", overlay)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "sitecustomize.py").write_text(BAD_DISK)
    target = "results/clips/0000.parquet"
    project.run(target, PYTHONPATH=str(tmp_path / "bad"), FAULT=fault)
    table = pq.read_table(project.results / stage / "0000.parquet")
    assert sorted(table["reason"].to_pylist()) == ["", "unreadable"]
    project.run(target)
    assert pq.read_table(project.results / target[8:])["status"].to_pylist() == ["ok", "ok"]
    assert "Nothing to be done" in project.run(target)


def test_only_what_may_have_passed_is_worth_another_attempt(tmp_path):
    folder, results = Folder(root=str(tmp_path / "in")), Results(tmp_path / "results")
    (tmp_path / "in").mkdir()
    table = results / "media" / "0000.parquet"

    def now():
        return attempt(results, "media", "0000", folder)

    def write(reason):
        row = {"clip_id": "a@0", "status": "failed", "reason": reason, "path": "a.mp4"}
        write_rows(table, "media", [row])

    assert now() == 0
    for reason in ("missing_file", "empty_file", "unsafe_path", "not_media", ""):
        write(reason)
        assert now() == 0
    write("missing_file")
    (tmp_path / "in" / "a.mp4").touch()
    assert now() == 1
    record_attempt(results, "media", "0000", 1)
    write("")
    assert now() == 1
    write("unreadable")
    assert now() == 2
    table.write_bytes(b"no table")
    assert now() == 1
