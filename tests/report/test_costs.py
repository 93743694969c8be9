"""Costs are summed rightly, and nothing that lies in results/ stops the page."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nano4m_audio.config.reading import load_config
from nano4m_audio.paths import Results
from nano4m_audio.report.collect import collect
from nano4m_audio.report.costs import read_command, rooms, stage_costs
from nano4m_audio.report.shipped import compare_with_shipped
from nano4m_audio.report.stage import build_report
from nano4m_audio.report.text import duration, size
from nano4m_audio.settings_files import COMMAND, record_command
from tests.conftest import ROOT
from tests.report.fake import HOSTILE, Fate, foreign_scripts, without_costs, write_results

HEAD = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


def benchmark(folder, name, *rows):
    path = folder / f"{name}.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{s}\t0:00:01\t{rss}\t1\t1\t1\t0\t0\t50\t{cpu}\n" for s, rss, cpu in rows]
    path.write_text(HEAD + "".join(lines))


def test_shards_are_summed_and_memory_is_the_most(tmp_path):
    benchmark(tmp_path, "train_base", (10.5, 900.0, 20.0))
    benchmark(tmp_path, "decode/0000", (1.5, 100.0, 1.0))
    benchmark(tmp_path, "decode/0001", (2.0, 300.0, "-"))
    benchmark(tmp_path, "tokenizer_quality/rgb-mini", (1, "NA", "NA"))
    benchmark(tmp_path, "report", (99, 99, 99))
    benchmark(tmp_path, "own_rule", (1, 1, 1), (2, 3, 4))
    found, unread = stage_costs(tmp_path)
    assert [(s.name, s.jobs, s.seconds, s.cpu_s, s.peak_mb) for s in found] == [
        ("decode", 2, 3.5, 1.0, 300.0),
        ("tokenizer_quality", 1, 1.0, None, None),
        ("train_base", 1, 10.5, 20.0, 900.0),
        ("own_rule", 2, 3.0, 5.0, 3.0),
    ]
    assert unread == 0


@pytest.mark.parametrize(
    "text", ["", "s\n", "nonsense", HEAD + "x\t1\n", HEAD + "nan\t1\n", "s\n-1\n"]
)
def test_a_damaged_benchmark_is_counted_and_left_out(tmp_path, text):
    benchmark(tmp_path, "decode/0000", (1.5, 100.0, 1.0))
    (tmp_path / "decode/0001.tsv").write_text(text)
    found, unread = stage_costs(tmp_path)
    assert [s.jobs for s in found] == [1] and unread == 1
    (tmp_path / "decode/0001.tsv").write_bytes(b"\xff\xfe\x00")
    assert stage_costs(tmp_path)[1] == 1


def test_every_file_is_counted_once(tmp_path):
    lengths = {"clips/0.parquet": 10, "store/clips/a": 100, "store/train/b": 7, "runs/x": 5}
    others = dict.fromkeys(("logs/l", "store/report/r", "report.html"), 1000)
    for name, n in {**lengths, **others}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"0" * n)
    os.link(tmp_path / "store/clips/a", tmp_path / "store/clips/again")
    (tmp_path / "clips/link").symlink_to(tmp_path / "logs", target_is_directory=True)
    found = {room.name: (room.files, room.store) for room in rooms(Results(tmp_path))}
    link = (tmp_path / "clips/link").lstat().st_size
    assert found == {"clips": (10 + link, 100), "runs": (5, 7)}


def test_equal_files_give_equal_pages_and_others_change_one_section(tmp_path):
    inputs = write_results(tmp_path, [Fate("pig"), Fate("cow")])
    benchmark(inputs.results / "benchmarks", "decode/0000", (61, 100.0, 1.0))
    record_command(inputs.results / "settings", ["/x/__main__.py", "--config", HOSTILE])

    def page():
        build_report(inputs, tmp_path / "page.html", with_examples=False)
        return (tmp_path / "page.html").read_text()

    first = page()
    assert page() == first and "1 min 1 s" in first and foreign_scripts(first) == []
    benchmark(inputs.results / "benchmarks", "decode/0000", (3.2, 100.0, 1.0))
    other = page()
    assert other != first and without_costs(other) == without_costs(first)


def test_the_command_is_named_as_it_was_typed(tmp_path):
    record_command(tmp_path, ["/opt/bin/snakemake", "--cores", "2", "--config", "verdict={a: 1}"])
    command, started = read_command(tmp_path / COMMAND)
    assert command == "snakemake --cores 2 --config 'verdict={a: 1}'" and started.endswith(" UTC")
    for text in ("", "[]", "{", "null"):
        (tmp_path / COMMAND).write_text(text)
        assert read_command(tmp_path / COMMAND) == ("", "")
    assert read_command(tmp_path / "no" / COMMAND) == ("", "")


@given(st.floats(0, 1e7))
def test_durations_keep_their_order(seconds):
    text = duration(seconds)
    assert not text.startswith("60 s") and " 60 " not in text
    parts = dict(part[::-1] for part in zip(text.split()[::2], text.split()[1::2], strict=True))
    units = (("h", 3600), ("min", 60), ("s", 1))
    back = sum(float(parts.get(unit, "0").replace(",", "")) * s for unit, s in units)
    assert abs(back - seconds) <= (31 if "h" in parts else 0.51)


def test_sizes_are_short():
    assert [size(n) for n in (0, 5, 999, 1000, 1500, 999_600, 5.15e8, 1e12, 2e15)] == [
        "0 B", "5 B", "999 B", "1.0 kB", "1.5 kB", "1.0 MB", "515 MB", "1.0 TB", "2000.0 TB",
    ]  # fmt: skip


@pytest.fixture
def checkout(tmp_path):
    """A repository with the shipped configs, and what git does in it."""
    folder = tmp_path / "checkout"
    (folder / "configs").mkdir(parents=True)
    names = ["config.yaml", "configs/folder.yaml", "configs/paper.yaml", "configs/yamnet.yaml"]
    for name in names:
        (folder / name).write_text((ROOT / name).read_text())

    def git(*arguments):
        who = ["-c", "user.name=n", "-c", "user.email=e@x"]
        subprocess.run(["git", "-C", folder, *who, *arguments], check=True, capture_output=True)

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "all")
    return folder


def shown(config, folder):
    found = compare_with_shipped(config.model_dump(mode="json"), folder)
    return found.name, [(k.key, k.before, k.now) for k in found.changed]


def test_an_edited_config_is_a_difference_to_the_committed_one(checkout):
    demo = checkout / "config.yaml"
    assert shown(load_config(demo), checkout) == ("config.yaml", [])
    values = json.loads(load_config(demo).model_dump_json())
    values["verdict"]["audio_min"] = 0.45
    demo.write_text(json.dumps(values))
    changed = [("verdict.audio_min", "0.3", "0.45")]
    assert shown(load_config(demo), checkout) == ("config.yaml", changed)


def test_a_folder_is_compared_with_the_config_for_folders(checkout):
    name, changed = shown(load_config(checkout / "configs/folder.yaml"), checkout)
    assert (name, changed) == ("configs/folder.yaml", [])
    both = load_config(checkout / "configs/folder.yaml", checkout / "configs/yamnet.yaml")
    name, changed = shown(both, checkout)
    assert name == "configs/folder.yaml" and ("score.audio.backend", "null", '"yamnet"') in changed


def test_outside_a_checkout_nothing_is_compared(tmp_path):
    config = {"source": "barnyard"}
    assert compare_with_shipped(config, None) is None
    assert compare_with_shipped(config, tmp_path) is None


def test_the_page_says_what_differs(checkout, tmp_path):
    inputs = write_results(tmp_path, [Fate("pig")], config={"verdict": {"audio_min": 0.9}})
    found = collect(replace(inputs, repository=checkout)).sections["provenance"].shipped
    assert "verdict.audio_min" in [k.key for k in found.changed]
