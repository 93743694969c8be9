"""The classes of a folder become those of the config, once and in a fixed order."""

from __future__ import annotations

import pytest

from nano4m_audio.acquire.listing import with_folder_classes
from nano4m_audio.config.reading import parse_workflow
from nano4m_audio.errors import UserError
from nano4m_audio.taxonomy import known_classes


def config(root, **values):
    folder = {"root": str(root), "clips_csv": None}
    return parse_workflow(
        {"classes": "from_folder", "source": "folder", "folder": folder, **values}
    )


def test_classes_of_the_folder_are_those_of_the_config(tmp_path):
    for name in ("kettle", "dog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.mp4").touch()
    found = with_folder_classes(config(tmp_path)).classes
    assert list(found) == ["dog", "kettle"]
    assert found["dog"] == known_classes()["dog"] and found["kettle"].caption == "kettle"
    begun = tmp_path / "candidates.json"
    begun.write_text('{"classes": {"dog": {}}}')
    assert list(with_folder_classes(config(tmp_path), begun).classes) == ["dog"]
    named = parse_workflow({"classes": ["cat"]})
    assert with_folder_classes(named) is named


def test_what_is_wrong_is_one_line(tmp_path):
    with pytest.raises(UserError, match="from_folder: there is no class in"):
        with_folder_classes(config(tmp_path))
    with pytest.raises(UserError, match="needs source: folder; source is 'barnyard'"):
        with_folder_classes(config(tmp_path, source="barnyard"))
    (tmp_path / "a;b").mkdir()
    (tmp_path / "a;b/a.mp4").touch()
    with pytest.raises(UserError, match="from_folder: .*: 'a;b' is no name of a class"):
        with_folder_classes(config(tmp_path))
