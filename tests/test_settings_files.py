"""Files of settings: named by their content, whatever it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nano4m_audio.config.curate import Verdict
from nano4m_audio.config.parsing import parse_json
from nano4m_audio.errors import UserError
from nano4m_audio.settings_files import SettingsFiles, last_settings

VALUES = st.dictionaries(st.text(), st.floats(allow_nan=False) | st.text() | st.none(), max_size=5)


@given(VALUES, VALUES)
def test_names_differ_when_and_only_when_values_do(one, other):
    files = SettingsFiles(Path("x"))
    shuffled = dict(reversed(one.items()))
    assert files.path("a", one) == files.path("a", shuffled)
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (files.path("a", one) == files.path("a", other)) == same


def test_a_stage_reads_what_was_written(tmp_path):
    files, section = SettingsFiles(tmp_path / "settings"), Verdict(audio_min=None, speech_max=0.5)
    path = files.path("verdict", section)
    assert not (tmp_path / "settings").exists(), "naming a file writes nothing"
    files.write()
    assert parse_json(Verdict, path) == section
    Path(path).write_text("broken")
    files.write()
    assert parse_json(Verdict, path) == section


@pytest.mark.parametrize("text", ['{"verdict": "ver', "[1]", '{"verdict": 3}', "", "\x00"])
def test_a_damaged_record_is_one_line(tmp_path, text):
    (tmp_path / "last.json").write_text(text)
    with pytest.raises(UserError, match=r"last\.json .*delete it") as caught:
        last_settings(tmp_path, "verdict")
    assert "\n" not in str(caught.value)
