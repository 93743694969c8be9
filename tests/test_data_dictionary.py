"""docs/DATA.md: every column is described, and the page is what the code says."""

from __future__ import annotations

import subprocess
import sys

import pytest

from nano4m_audio.tables import TABLES
from tests.conftest import ROOT


@pytest.mark.parametrize("name", TABLES)
def test_every_column_is_described(name: str) -> None:
    for column, _, meaning in TABLES[name]:
        assert len(meaning.split()) > 1 and "|" not in meaning, f"{name}.{column}"


def test_the_data_dictionary_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "docs/data.py"], capture_output=True, text=True, check=True
    )
    page = (ROOT / "docs/DATA.md").read_text("utf-8")
    assert page == done.stdout, "run `make docs`"
