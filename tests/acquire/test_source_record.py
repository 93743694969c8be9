"""A results folder belongs to one source."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from nano4m_audio.acquire.source_record import RECORD, check_fetched, check_record, write_record
from nano4m_audio.cli.app import app
from nano4m_audio.config.parsing import parse
from nano4m_audio.config.schema import Config
from nano4m_audio.errors import UserError

DEMO = parse(Config, {}, "config")


def folder(root: str, **more: object) -> Config:
    return parse(Config, {"source": "folder", "folder": {"root": root}, **more}, "config")


def test_another_source_is_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = Path("results")
    check_record(DEMO, results)
    write_record(DEMO, results)
    check_record(parse(Config, {"barnyard": {"seed": 3}}, "config"), results)
    for other in (folder("a"), parse(Config, {"source": "web"}, "config")):
        with pytest.raises(UserError, match="--directory FOLDER") as caught:
            check_record(other, results)
        assert "\n" not in str(caught.value)


def test_a_folder_is_known_by_every_name_and_moves_with_its_results(tmp_path, monkeypatch):
    for place in ("one", "two"):
        (tmp_path / place / "my {clips}").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "one")
    write_record(folder("my {clips}"), Path("results"))
    check_record(folder(str(tmp_path / "one/my {clips}")), Path("results"))
    check_record(folder("./my {clips}/", n_shards=7), Path("results"))
    with pytest.raises(UserError, match=r"folder 'my \{clips\}', and this config reads the folder"):
        check_record(folder(str(tmp_path / "two/my {clips}")), Path("results"))
    (tmp_path / "one/results").rename(tmp_path / "two/results")
    monkeypatch.chdir(tmp_path / "two")
    check_record(folder("my {clips}"), Path("results"))


def test_only_clips_of_the_web_are_fetched(tmp_path):
    results = tmp_path / "results"
    check_fetched(results)  # candidates of lists may be there without a record
    for source, fetched in (("web", True), ("barnyard", False), ("mirror", False)):
        (results / RECORD).unlink(missing_ok=True)
        write_record(parse(Config, {"source": source}, "config"), results)
        if fetched:
            check_fetched(results)
        else:
            done = CliRunner().invoke(app, ["fetch", "--results", str(results)])
            assert done.exit_code == 1 and isinstance(done.exception, UserError)
            assert "there is nothing to fetch" in str(done.exception)


@pytest.mark.parametrize("text", ["", "[]", "3", '{"source": "x"}'])
def test_a_damaged_record_is_one_line(tmp_path, text):
    results = tmp_path / "results"
    results.mkdir()
    (results / RECORD).write_text(text)
    with pytest.raises(UserError, match="source.json"):
        check_record(DEMO, results)
