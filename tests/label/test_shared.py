"""One pass of a network that serves two modalities, and the maps that each gets of it."""

from __future__ import annotations

import shutil

import pytest

from nano4m_audio.backends import registry
from nano4m_audio.config.reading import parse
from nano4m_audio.config.schema import Config
from nano4m_audio.config.tokenizers import LabelSettings
from nano4m_audio.label.stage import label_clips
from nano4m_audio.paths import Results
from nano4m_audio.store import RowStore
from nano4m_audio.tables import read_rows
from tests.report.fake import Fate, write_results

ALONE = LabelSettings(modality="normals", backend="mini")


@pytest.fixture
def results(tmp_path):
    """A clip that is selected and not yet labelled."""
    results = Results(write_results(tmp_path, [Fate("pig")], heavy=True).results)
    for folder in (results.store / "labels", results.root / "labels"):
        shutil.rmtree(folder)
    return results


def normals(results) -> list:
    table = results.table("labels/normals", "0000")
    keys = [row["key"] for row in read_rows(table, "labels/normals")]
    return RowStore(results.store, "labels/normals", "0000").read(keys).to_pylist()


def test_the_pass_for_depth_leaves_the_normals_in_the_store(results, monkeypatch, capsys):
    label_clips(results, "0000", ALONE)
    alone = normals(results)
    shutil.rmtree(results.store / "labels")
    both = LabelSettings(modality="depth", backend="mini", beside={"normals": "mini"})
    label_clips(results, "0000", both)
    monkeypatch.setattr(registry, "load", None)  # no model from here on
    label_clips(results, "0000", ALONE)
    assert capsys.readouterr().err.splitlines()[-1] == "labels/normals: 1 rows, 0 computed"
    assert normals(results) == alone and alone[0]["status"] == "ok"


def test_a_modality_with_a_network_of_its_own_is_made_alone():
    shared = parse(Config, {}, "config")
    assert shared.label_settings("depth").beside == {"normals": "mini"}
    assert shared.label_settings("normals").beside == {}
    apart = parse(Config, {"label": {"normals": "dsine"}}, "config")
    assert apart.label_settings("depth").beside == {}
