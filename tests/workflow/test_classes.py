"""Classes of the user's own, from a folder of clips to the report."""

from __future__ import annotations

import shutil

import pytest

from nano4m_audio.backends.gpt2 import Gpt2Tokenizer
from nano4m_audio.tables import read_rows
from nano4m_audio.taxonomy import known_classes
from tests.workflow.conftest import Project
from tests.workflow.test_commands import folder_config, small_folder

pytestmark = pytest.mark.slow

FILTERS = {"audio_min": 0.3, "visual_min": 0.4, "speech_max": 0.2}
MINI = {"audio": {"backend": "mini"}, "visual": {"backend": "mini"}}
OWN = {
    **folder_config(root="clips", clips_csv=None),
    "score": MINI, "verdict": FILTERS, "classes": "from_folder",
}  # fmt: skip


@pytest.fixture(scope="module")
def own(finished, tmp_path_factory) -> Project:
    """A finished run over a folder in which one of the eleven classes is called frog."""
    project = Project.make(tmp_path_factory.mktemp("own") / "project", OWN)
    folder = small_folder(finished, project.folder / "clips", by_class=True)
    min(folder.iterdir()).rename(folder / "frog")
    shutil.copytree(finished.results / "store", project.results / "store")
    project.run()
    return project


def captions(project: Project) -> dict[str, str]:
    """The caption of the selected clips of every class, out of their tokens."""
    names = {
        row["clip_id"]: row["class_name"]
        for row in read_rows(project.results / "candidates/0000.parquet", "candidates")
    }
    rows = read_rows(project.results / "tokens/caption/0000.parquet", "tokens/caption")
    return {names[row["clip_id"]]: Gpt2Tokenizer.load().decode(row["tokens"]) for row in rows}


def test_a_class_that_no_model_knows_goes_through_and_the_report_says_so(own):
    page = (own.results / "report.html").read_text()
    for score, kind in (("audio", "sound"), ("visual", "picture")):
        assert (
            f"mini (score.{score}) does not know frog: the {kind} filter is off for the clips of "
            "this class." in page
        )
    found = captions(own)
    assert found.pop("frog") == "frog" and len(found) > 2
    assert found == {name: known_classes()[name].caption for name in found}
    log = (own.results / "logs/score_audio/0000.log").read_text()
    assert "mini does not know these classes: frog" in log
    verdicts = read_rows(own.results / "verdicts/0000.parquet", "verdicts")
    assert {row["audio_score"] is None for row in verdicts} == {True, False}
    assert all(row["accepted"] for row in verdicts if row["audio_score"] is None)
    assert "Nothing to be done" in own.run()


def test_a_changed_detail_changes_what_is_made_of_it_alone(own):
    names = sorted(path.name for path in (own.folder / "clips").iterdir())
    classes: dict[str, dict] = {
        name: {"caption": "a frog"} if name == "frog" else {} for name in names
    }
    own.write_overlay({**OWN, "classes": classes})
    output = own.run()
    jobs = output.split("Job stats:")[1].split("total")[0]
    assert "tokenize_clips " in jobs
    assert not any(name in jobs for name in ("tokenize_labels", "score_", "candidates"))
    assert captions(own)["frog"] == "a frog"
    frogs = len(list((own.folder / "clips/frog").iterdir()))
    assert own.computed_of("caption") in range(1, frogs + 1)
    classes[names[-1]] = {"prompts": ["a photo", "a photo of an animal"]}
    own.write_overlay({**OWN, "classes": classes})
    output = own.run("-n")
    jobs = output.split("Job stats:")[1].split("total")[0]
    assert "score_visual" in jobs and "verdict" in jobs
    assert "score_audio" not in jobs and "candidates" not in jobs
