"""Lists of clips that are wrong in every way: candidates that add up, or a short error."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from nano4m_audio.acquire.folder import Findings, found_classes, read_candidates
from nano4m_audio.acquire.lists import read_lists
from nano4m_audio.acquire.media import check_media, with_places
from nano4m_audio.config.sources import Web
from nano4m_audio.errors import UserError
from nano4m_audio.reasons import Reason
from nano4m_audio.tables import read_rows, write_rows
from nano4m_audio.taxonomy import known_classes
from tests.fuzz.damage import PLAIN, damaged, many

CLASSES = known_classes()
MEGABYTE = "x" * 1_000_000
#: Values that a maker of lists may write, by mistake or not.
ODD = (
    *("", " ", "\x00", "a\x00b.mp4", "\ufeff", '"', '"a', 'a"b', "'", ",", ";", "\t"),
    *("\r", "\x1b[2J", "//host/x", "C:\\x.mp4"),
    *("../../etc/passwd", "/etc/passwd", "..", ".", "a/../../b", "~root/x"),
    *("-rf", "$(touch x)", "`id`", "a\nb", "é" * 200, "e\u0301", "\u202egpj.mp4", "\ud7ff", "𐍈"),
    *("nan", "inf", "-1", "1e400", "1e-400", "0x10", "１２", "1_000", "9" * 400, "NaN", "-0.0"),
    *("=1+1", "<script>", "dog", "Dog ", "dogs", "both", "a.mp4", "x" * 5000),
    *("x" * 140_000, MEGABYTE),
)  # fmt: skip
NAMES = ("file", "class", "video_id", "start_s", "end_s", "source", "note", "", "FILE", " file")
AUDIOSET = (
    "# Segments csv\n# num_ytids=1\n# YTID, start_seconds, end_seconds, positive_labels\n"
    '--PJHxphWEs, 30.000, 40.000, "/m/09x0r,/m/0bt9lr"\n'
    '-0RWZT-miFs, 420.000, 430.000, "/m/01yrx"\n'
)
VGGSOUND = "--0PQM4-hqg,30,waterfall burbling,train\n---g-f_I2yQ,1,dog barking,test\n"
OWN = "video_id,start_s,end_s,class\nAAAAAAAAAA1,1,11,dog\nAAAAAAAAAA2,2.5,9,cat\n"


def _mutated(rows: list[list[str]], rng: random.Random) -> bytes:
    """A table with odd values, columns and line ends, as bytes."""
    rows = [list(row) for row in rows]
    for _ in range(rng.choice((0, 1, 2, 6))):
        row = rng.choice(rows)
        how = rng.randrange(4)
        if how == 0:
            row[rng.randrange(len(row))] = rng.choice(ODD)
        elif how == 1:
            row.insert(rng.randrange(len(row) + 1), rng.choice(NAMES))
        elif how == 2 and len(row) > 1:
            del row[rng.randrange(len(row))]
        else:
            rows.insert(rng.randrange(len(rows)), list(rng.choice(rows)))
    quote = rng.choice(
        (lambda v: v, lambda v: f'"{v}"', lambda v: '"' + v.replace('"', '""') + '"')
    )
    text = rng.choice(("\n", "\n", "\r\n", "\r")).join(",".join(map(quote, row)) for row in rows)
    data = (rng.choice(("", "\ufeff")) + text).encode(rng.choice(("utf-8",) * 5 + ("utf-16",)))
    return damaged(data, str(rng.random()), PLAIN) if rng.random() < 0.3 else data


def _short(error: UserError) -> None:
    """An error that fits the screen: few lines, none of them without end."""
    lines = str(error).splitlines()
    assert len(lines) <= 8 and max(map(len, lines)) < 1500, str(error)[:3000]
    assert all(line.isprintable() for line in lines), ascii(str(error))[:3000]


def _case(number: int, folder: Path) -> bool:
    rng = random.Random(f"clips {number}")
    rows = [["file", "class", "video_id", "start_s", "end_s"]]
    rows += [[f"{n}.mp4", rng.choice(("dog", "cat")), f"v{n}", str(n), ""] for n in range(4)]
    path, findings = folder / "clips.csv", Findings()
    path.write_bytes(_mutated(rows, rng))
    try:
        found_classes(folder, "clips.csv")
    except UserError as error:
        _short(error)
    try:
        candidates = read_candidates(folder, path, tuple(CLASSES), findings)
    except UserError as error:
        _short(error)
        return False
    assert len({row["clip_id"] for row in candidates}) == len(candidates)
    assert sum(findings.video_ids.values()) == len(candidates)
    write_rows(folder / "t.parquet", "candidates", candidates)
    kept = read_rows(folder / "t.parquet", "candidates")
    for row in check_media(with_places(kept, None), folder):
        assert row["reason"] in set(Reason), row["path"][:100]
        assert row["message"].isprintable() and len(row["message"]) < 1000
    return True


def test_damaged_lists_of_clips(tmp_path):
    (tmp_path / "secret").write_text("secret")
    folder = tmp_path / "in"
    folder.mkdir()
    read = sum(_case(number, folder) for number in range(many(100, 3000)))
    assert 10 < read < many(100, 3000)


LISTS = {"audioset": AUDIOSET, "vggsound": VGGSOUND, "segments": OWN}


@pytest.mark.parametrize("kind", LISTS)
def test_damaged_lists_of_segments_add_up(kind, tmp_path):
    path, read = tmp_path / "list.csv", 0
    for number in range(many(40, 2000)):
        rng = random.Random(f"{kind} {number}")
        path.write_bytes(_mutated([line.split(",") for line in LISTS[kind].splitlines()], rng))
        try:
            table, findings = read_lists(Web.model_validate({f"{kind}_csvs": [str(path)]}), CLASSES)
        except UserError as error:
            _short(error)
            continue
        (entry,) = findings.lists
        parts = ("clips", "joined", "conflicts", "others", "bad")
        assert entry["rows"] == sum(entry[part] for part in parts)
        assert len(table) == entry["clips"] == findings.video_ids["list"]
        assert all(len(line) < 3000 and line.isprintable() for line in findings.lines())
        read += 1
    assert read > 5
