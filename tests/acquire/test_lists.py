"""Lists of labelled segments: every row is counted once, whatever stands in it."""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import random
import re
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from nano4m_audio.acquire.list_labels import label_maps
from nano4m_audio.acquire.list_rows import ListFile, read_list
from nano4m_audio.acquire.lists import list_segments, piece_path, read_lists
from nano4m_audio.acquire.stage import list_candidates
from nano4m_audio.cli.app import app
from nano4m_audio.config.reading import parse_workflow
from nano4m_audio.config.sources import Candidates, Web
from nano4m_audio.errors import UserError
from nano4m_audio.lineage import outdated
from nano4m_audio.paths import Results
from nano4m_audio.tables import read_rows
from nano4m_audio.taxonomy import class_names, classes_named, known_classes
from tests.conftest import ROOT

CLASSES = known_classes()
HEAD = (
    "# Segments csv created Sun Mar  5 10:54:31 2017\n# num_ytids=1, num_segs=1\n"
    "# YTID, start_seconds, end_seconds, positive_labels\n"
)
DOG, BARK, CAT, SPEECH, HOWL = "/m/0bt9lr", "/m/05tny_", "/m/01yrx", "/m/09x0r", "/m/07qf0zm"
A, B, C = "AAAAAAAAAA1", "-_AAAAAAAA2", "#AAAAAAAAA3".replace("#", "-")
RESULTS = Results(Path("results"))
WATCH = "https://www.youtube.com/watch?v="


@pytest.fixture
def lists(tmp_path):
    """Write lists, and read them: text by the name of the file, which tells its kind."""

    def read(classes=CLASSES, labels="core", **texts):
        kinds: dict[str, list[str]] = {"audioset": [], "vggsound": [], "segments": []}
        for name, text in texts.items():
            path = tmp_path / f"{name}.csv"
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
            kind = next((kind for kind in kinds if name.startswith(kind)), "segments")
            kinds[kind].append(str(path))
        named = {f"{kind}_csvs": tuple(paths) for kind, paths in kinds.items()}
        table, findings = read_lists(Web.model_validate({**named, "labels": labels}), classes)
        return table.to_pylist(), findings

    return read


def segment(video, start, end, name, *sources, url=""):
    return {
        "video_id": video, "start_s": start, "end_s": end, "class_name": name,
        "sources": list(sources), "url": url or f"{WATCH}{video}",
    }  # fmt: skip


def faults(entry):
    return {fault["why"]: fault["lines"] for fault in entry["faults"]}


def adds_up(findings):
    for entry in findings.lists:
        parts = ("clips", "joined", "conflicts", "others", "bad")
        assert entry["rows"] == sum(entry[part] for part in parts)
        assert entry["bad"] == sum(fault["rows"] for fault in entry["faults"])
    return True


def test_audioset_lists_with_and_without_their_header(lists):
    rows = f'{A}, 30.000, 40.000, "{SPEECH},{BARK}"\n{B},0.5,10.5,"{CAT}"\r\n{C}, 0, 10, {SPEECH}\n'
    wanted = [
        segment(B, 0.5, 10.5, "cat", "audioset"), segment(A, 30.0, 40.0, "dog", "audioset"),
    ]  # fmt: skip
    head = "YTID, start_seconds, end_seconds, positive_labels\n"
    for text in (rows, HEAD + rows, head + rows, "\ufeff" + HEAD + rows, rows.rstrip() + "\n\n \n"):
        found, findings = lists(audioset=text)
        assert found == wanted and adds_up(findings)
        (entry,) = findings.lists
        assert (entry["rows"], entry["clips"], entry["others"], entry["bad"]) == (3, 2, 1, 0)
        assert findings.video_ids == {"list": 2}


def test_vggsound_lists_in_both_published_forms(lists):
    forms = (
        f'{A},1,dog barking,test\n{B},20,"pigeon, dove cooing",train\n{C},3,people marching,test\n',
        f'"{A}", 1, "dog barking"\n{B},20,"pigeon, dove cooing"\n{C},3,people marching\n',
        f'{A}_000001.mp4,dog barking\n{B}_000020.mp4,"pigeon, dove cooing"\n{C}_000003.mp4,x\n',
        f'{A}_000001,dog barking\r\n{B}_000020.mkv,"pigeon, dove cooing"\r\n{C}_000003.mp4,x\r\n',
        f'id,start,x,y\n{A},1,dog barking,test\n{B},20,"pigeon, dove cooing",x\n{C},1,x,y\n',
    )
    wanted = [
        segment(B, 20.0, 30.0, "pigeon", "vggsound"), segment(A, 1.0, 11.0, "dog", "vggsound"),
    ]  # fmt: skip
    for text in forms:
        found, findings = lists(vggsound=text)
        assert found == wanted and adds_up(findings)
        assert findings.lists[0]["others"] == 1 and not findings.lists[0]["bad"]


def test_lists_of_the_users_own(lists):
    text = f'Class,note,start_s,End_s,video_id\ndog,"a, b",0,9.5,{A}\ncat,,1,2,{B}\n'
    wanted = [segment(B, 1.0, 2.0, "cat", "mine"), segment(A, 0.0, 9.5, "dog", "mine")]
    assert lists(mine=text)[0] == wanted
    assert lists(mine=f"{A},0,9.5,dog\n{WATCH}{B}&t=3,1,2,cat\n")[0] == wanted
    assert lists(mine=f"url,class,start_s,end_s\n{WATCH}{A},dog,0,9.5\n")[0] == wanted[1:]
    own = {"Ünïcode frög": classes_named(["frog"])["frog"]}
    text = f"video_id,start_s,end_s,class\n{A},0,1,U\u0308nïcode frög\n"
    assert lists(own, mine=text)[0][0]["class_name"] == "Ünïcode frög"


@pytest.mark.parametrize(
    "url",
    [f"https://youtu.be/{A}?t=4", f"http://m.youtube.com/watch?app=x&v={A}#t=3",
     f"https://www.YouTube.com/shorts/{A}", f"HTTPS://www.youtube-nocookie.com/embed/{A}?x=1"],
)  # fmt: skip
def test_addresses_of_youtube_name_their_video(lists, url):
    assert lists(mine=f"{url},0,1,dog\n")[0] == [segment(A, 0.0, 1.0, "dog", "mine")]


def test_other_addresses_are_videos_of_their_own(lists):
    url = "https://example.org/a%20b.mp4?x=1"
    text = f"{url},0,1,dog\n{url}#t=9,4,5,dog\nhttp://127.0.0.1:8000/b,0,1,cat\n"
    found, _ = lists(mine=text)
    by_url = {row["url"]: row["video_id"] for row in found}
    assert by_url.keys() == {url, "http://127.0.0.1:8000/b"} and len(found) == 3
    assert all(re.fullmatch("[0-9a-f]{32}", name) for name in by_url.values())
    text = f"video_id,url,start_s,end_s,class\n{A},{url},0,1,dog\n{B},,0,1,dog\n"
    found, _ = lists(mine=text)
    assert [(r["video_id"], r["url"]) for r in found] == [(B, f"{WATCH}{B}"), (A, url)]


BAD_ROWS: dict[str, list[Any]] = {
    "no video id": ["short,0,1,dog", f"{A}x,0,1,dog", "../../../etc,0,1,dog", ",0,1,dog",
                    f"{A[:10]}é,0,1,dog", f"\ufeff{A},0,1,dog"],
    "no web address": ["file:///etc/passwd,0,1,dog", "ftp://a/b,0,1,dog", "http://,0,1,dog",
                       "https://me:word@example.org/a,0,1,dog", "javascript://a/b,0,1,dog",
                       "http://a b/c,0,1,dog", f"http://a/{'b' * 2000},0,1,dog"],
    "no number of seconds": [f"{A},-1,1,dog", f"{A},nan,1,dog", f"{A},0,inf,dog", f"{A},,1,dog",
                             f"{A},0,1e12,dog", f"{A},0:10,0:20,dog", f"{A},0x1,9,dog"],
    "end is not after": [f"{A},5,5,dog", f"{A},5,4,dog", f"{A},5.0001,5.0002,dog"],
    "unknown class": [f"{A},0,1,doge", f"{A},0,1,Dog", f"{A},0,1,<script>"],
    "no label": [f"{A},0,1,", f'{A},0,1," "'],
    "another number of values": [f"{A},0,1", f"{A},0,1,dog,x", f'{A},0,1,"dog', f'{A},0,1,d"og',
                                 "x", '"'],
    "control characters": [f"{A},0,1,dog\0",
                           f"{A}\0,0,1,dog", f"{A},0,1,d\x1bog", f"{A},\r0,1,dog"],
    "not UTF-8": [f"{A},0,1,dög".encode("latin-1"), b"\xff,0,1,dog", b"a\xed\xa0\x80,0,1,dog"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("why", "row"), [(why, row) for why, rows in BAD_ROWS.items() for row in rows]
)
def test_a_bad_row_is_named_by_its_line_and_costs_no_other(lists, why, row):
    row = row if isinstance(row, bytes) else row.encode()
    good = f"{A},0,1,dog".encode()
    text = b"\n".join([good, b"# a comment", b"", row, good.replace(b"0,1", b"4,5"), b""])
    found, findings = lists(mine=text)
    assert len(found) == 2 and adds_up(findings)
    ((said, lines),) = faults(findings.lists[0]).items()
    assert why in said and lines == [4]
    (line,) = findings.lines()
    assert "line 4" in line and line.isprintable()


def test_faults_of_the_published_kinds_of_list(lists):
    good = f'{A}, 0.000, 10.000, "{DOG}"\n'
    text = (
        good + f'{A}, 0.000, 10.000, {DOG},{CAT}\n{B}, 0.000, 10.000, "Dog"\n{B}, x, 1, "{DOG}"\n'
    )
    _, findings = lists(audioset=text)
    assert [*faults(findings.lists[0]).values()] == [[2], [4], [3]] and adds_up(findings)
    text = f"{A},0,dog barking,test\nbad_000010.mp4,dog barking\n{A}_10.mp4,dog barking\n{A},1,,x\n"
    _, findings = lists(vggsound=text)
    assert [*faults(findings.lists[0]).values()] == [[2, 3], [4]] and adds_up(findings)


@pytest.mark.parametrize("first", ["a\rb,c", '"' + "x" * 200_000, "\0,\0", '"a', "x," * 9000])
def test_any_first_line_costs_no_other_row(lists, first):
    for name in ("audioset", "vggsound", "mine"):
        good = {"audioset": f'{A},0,10,"{DOG}"', "vggsound": f"{A},0,dog barking"}
        found, findings = lists(**{name: f"{first}\n{good.get(name, f'{A},0,10,dog')}\n"})
        assert len(found) == 1 and findings.lists[0]["bad"] == 1


def test_many_bad_rows_are_counted_and_the_first_named(lists):
    _, findings = lists(mine=f"{A},0,1,dog\n" + "x\n" * 50_000)
    (fault,) = findings.lists[0]["faults"]
    assert fault["rows"] == 50_000 and fault["lines"] == list(range(2, 22))
    (line,) = findings.lines()
    assert "lines 2, 3, 4, 5, 6 and 49,995 more, such as 'x'" in line and len(line) < 400


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (gzip.compress(b"x", mtime=0), "compressed: unpack it first"),
        (b"PK\x03\x04abc", "zip archive"),
        ("a,b".encode("utf-16"), "UTF-16"), (b"PAR1", "Parquet"),
        (b"video_id,begin,end_s,class\n", "no column 'start_s'"),
        (b"start_s,end_s,class\n", "no column 'video_id \\(or url\\)'"),
        (b"video_id,video_id,start_s,end_s,class\n", "'video_id' more than once"),
        (b"video_id,start_s,end_s,class" + b",x" * 200, "more than 100 columns"),
        (b"x" * 20_000_000, "is it a list"), (b"", "no list has a row: .*mine.csv"),
        (b"\xef\xbb\xbf", "no list has"),
        (b"<html>\n<body>\n", "2 rows: 2 bad \\(another number .* lines 1, 2, such as '<html>'"),
    ],
)  # fmt: skip
def test_what_is_no_list_is_one_line(lists, content, words):
    with pytest.raises(UserError, match=words) as error:
        lists(mine=content)
    assert "\n" not in str(error.value) and len(str(error.value)) < 600


def test_files_that_are_not_there_are_one_line(tmp_path):
    for path, words in ((tmp_path / "no.csv", "no such list"), (tmp_path, "cannot be read")):
        with pytest.raises(UserError, match=words):
            read_lists(Web(audioset_csvs=(str(path),)), CLASSES)


def test_a_clip_of_several_lists_has_all_their_names(lists):
    found, findings = lists(
        audioset=f'{A}, 30.000, 40.000, "{DOG}"\n{B}, 0.000, 10.000, "{DOG}"\n',
        vggsound=f"{A},35,dog barking,test\n{B},10,dog barking,test\n",
        mine=f"{A},39,41,dog\n{C},0,1,dog\n",
        other=f"{A},0,1,dog\n{C},0.5,2,dog\n",
    )
    assert found == [
        segment(C, 0.0, 1.0, "dog", "mine", "other"),
        segment(B, 0.0, 10.0, "dog", "audioset"),
        segment(B, 10.0, 20.0, "dog", "vggsound"),
        segment(A, 0.0, 1.0, "dog", "other"),
        segment(A, 30.0, 40.0, "dog", "audioset", "mine", "vggsound"),
    ]
    assert adds_up(findings)
    assert {"sources": "audioset + mine + vggsound", "clips": 1} in findings.sources
    assert sum(entry["clips"] for entry in findings.sources) == 5
    assert [entry["joined"] for entry in findings.lists] == [0, 1, 1, 1]


def test_windows_of_one_list_are_clips_of_their_own(lists):
    found, findings = lists(mine=f"{A},0,10,dog\n{A},5,15,dog\n{A},0,4,dog\n{A},0,10,dog\n")
    assert [(r["start_s"], r["end_s"]) for r in found] == [(0.0, 10.0), (5.0, 15.0)]
    assert findings.lists[0]["joined"] == 2 and adds_up(findings)


def test_moments_of_several_classes_are_left_out_and_counted(lists):
    found, findings = lists(
        audioset=f'{A}, 0, 10, "{DOG},{CAT}"\n{B}, 0, 10, "{DOG}"\n{C}, 0, 10, "{DOG}"\n',
        vggsound=f"{B},5,cat meowing,test\n{C},10,cat meowing,test\n",
    )
    assert [r["class_name"] for r in found] == ["dog", "cat"] and adds_up(findings)
    assert findings.conflicts == [{"classes": ["dog", "cat"], "rows": 3}]
    assert "several classes: dog and cat (3)" in findings.lines()[-1]


def test_a_row_of_one_class_decides_a_row_of_several(lists):
    texts = {"audioset": f'{A}, 0, 10, "{DOG},{CAT}"\n', "vggsound": f"{A},4,dog barking,test\n"}
    found, findings = lists(**texts)
    assert found == [segment(A, 0.0, 10.0, "dog", "audioset", "vggsound")]
    assert not findings.conflicts and adds_up(findings)


def test_ambiguous_labels_are_asked_for_and_yield_to_others(lists):
    text = f'{A}, 0, 10, "{HOWL}"\n{B}, 0, 10, "{HOWL},{DOG}"\n'
    assert [r["class_name"] for r in lists(audioset=text)[0]] == ["dog"]
    found, findings = lists(audioset=text, labels="all")  # of a dog, or of a coyote
    assert [r["class_name"] for r in found] == ["dog"] and findings.lists[0]["conflicts"] == 1
    only = {"coyote": CLASSES["coyote"]}
    assert len(lists(only, audioset=text, labels="all")[0]) == 2
    with pytest.raises(UserError, match="2 of other classes"):
        lists(only, audioset=text)


def test_kinds_of_a_sound_are_of_its_class(lists):
    text = f'{A}, 0, 10, "{BARK}"\n{B}, 0, 10, "{HOWL}"\n{C}, 0, 10, "{CAT}"\n'
    entries = {
        "pet": {"audioset": ["Domestic animals, pets"]}, "hound": {"audioset": ["Dog"]},
    }  # fmt: skip
    classes = parse_workflow({"classes": entries}).classes
    found, _ = lists({"pet": classes["pet"]}, audioset=text)
    assert [r["video_id"] for r in found] == [C, A]  # canids have howls, too, and are no pets
    found, _ = lists(classes, audioset=text)
    assert {r["video_id"]: r["class_name"] for r in found} == {C: "pet", A: "hound"}


def test_a_label_of_several_classes_says_nothing_of_either(lists):
    classes = parse_workflow({"classes": {"a": {"audioset": "Dog"}, "b": {"audioset": "Dog"}}})
    with pytest.raises(UserError, match="1 of other classes"):
        lists(classes.classes, audioset=f'{A}, 0, 10, "{DOG}"\n')


ids = st.sampled_from([A, B, C])
times = st.integers(0, 8)
own_rows = st.builds("{},{},{},{}".format, ids, times, times, st.sampled_from(class_names()[:3]))
audioset_rows = st.builds(
    lambda video, start, mids: f'{video}, {start}, {start + 3}, "{",".join(mids)}"',
    ids, times, st.lists(st.sampled_from([DOG, BARK, CAT, SPEECH, HOWL]), min_size=1, max_size=3),
)  # fmt: skip
vggsound_rows = st.builds(
    "{},{},{},test".format, ids, times,
    st.sampled_from(["dog barking", "cat meowing", "dog howling", "rapping"]),
)  # fmt: skip
junk = st.one_of(st.text(max_size=8), st.just('",'), st.just("x,1,2,dog"))


@pytest.mark.slow
@given(st.data())
def test_no_row_is_lost_and_order_means_nothing(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("lists")
    kinds = [("audioset", audioset_rows), ("vggsound", vggsound_rows), ("segments", own_rows)]
    contents = []
    for kind, rows in kinds:
        for number in range(data.draw(st.integers(0, 2))):
            lines = data.draw(st.lists(st.one_of(rows, rows, rows, junk), max_size=7))
            contents.append((f"{kind}_csvs", folder / f"{kind}{number}.csv", lines))
    seed, labels = data.draw(st.integers(0, 99)), data.draw(st.sampled_from(["core", "all"]))
    first = outcome(contents, labels)
    rng = random.Random(seed)
    rng.shuffle(contents)
    for _, _, lines in contents:
        rng.shuffle(lines)
    if not any(ln.startswith(("video", "url")) for _, _, lines in contents for ln in lines[:1]):
        assert outcome(contents, labels) == first


def outcome(contents, labels):
    """The segments and the counts, or nothing where no segment is left; checked on the way."""
    paths: dict[str, list[str]] = {}
    for kind, path, lines in contents:
        path.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
        paths.setdefault(kind, []).append(str(path))
    source = Web.model_validate({**paths, "labels": labels})
    try:
        rows, findings = list_segments(source, RESULTS, CLASSES)
    except UserError:
        return None
    assert adds_up(findings)
    assert len({row["clip_id"] for row in rows}) == len({row["path"] for row in rows}) == len(rows)
    assert sum(entry["clips"] for entry in findings.lists) == len(rows)
    for one, two in itertools.combinations(rows, 2):
        apart = one["end_s"] <= two["start_s"] or two["end_s"] <= one["start_s"]
        if one["video_id"] == two["video_id"] and not apart:
            assert one["class_name"] == two["class_name"]
            assert {*one["sources"]} & {*two["sources"]}
    counts = [{k: v for k, v in entry.items() if k != "faults"} for entry in findings.lists]
    bad = [{f["why"]: f["rows"] for f in entry["faults"]} for entry in findings.lists]
    return rows, counts, bad, findings.sources, findings.conflicts


def test_paths_are_hashes_of_video_and_window():
    path = piece_path("../../../etc", 1.0, 2.0)
    assert re.fullmatch(r"([0-9a-f]{2})/\1[0-9a-f]{30}", path)
    others = {piece_path(*args) for args in ((A, 1.0, 2.0), (A, 1.0, 3.0), (B, 1.0, 2.0))}
    assert len({path, *others}) == 4


def test_the_stage_writes_tables_and_what_was_found(tmp_path, capsys):
    mine = tmp_path / "mine.csv"
    mine.write_text(f"{A},0,1,dog\nhttp://example.org/x,0.25,1,cat\nbad\n")
    results = Results(tmp_path / "results")
    settings = Candidates(source="web", web=Web(segments_csvs=(str(mine),)), n_shards=2)
    list_candidates(results, settings)
    rows = [r for t in results.tables("candidates", 2) for r in read_rows(t, "candidates")]
    assert {r["clip_id"].partition("@")[2] for r in rows} == {"0", "250"}
    assert json.loads(results.listing.read_text())["lists"][0]["rows"] == 3
    assert "mine.csv: 3 rows: 2 clips, 1 bad (another number" in capsys.readouterr().err


def test_the_command_remembers_its_lists(tmp_path):
    mine, results = tmp_path / "mine.csv", tmp_path / "results"
    mine.write_text(f"{A},0,1,dog\n")
    settings = {"source": "web", "n_shards": 1, "web": {"segments_csvs": [str(mine)]}}
    arguments = ["candidates", "--results", str(results), "--settings", json.dumps(settings)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert not outdated(results)
    mine.write_text(f"{A},0,2,dog\n")
    assert results / "candidates/0000.parquet" in outdated(results)


def test_classes_of_the_folder_are_of_no_use_here(tmp_path):
    settings = Candidates.model_validate({"source": "web", "classes": "from_folder"})
    with pytest.raises(UserError, match="from_folder needs source: folder; source is 'web'"):
        list_candidates(Results(tmp_path), settings)


def published(shared: Path, **values) -> Web:
    folder = shared / "metadata"
    names = ("balanced_train_segments.csv", "eval_segments.csv")
    return Web(
        audioset_csvs=tuple(str(folder / "audioset" / name) for name in names),
        vggsound_csvs=(str(folder / "vggsound/test.csv"),),
        **values,
    )


def found_by_class(path: Path, kind: str, labels: Any) -> Counter[str]:
    """Rows of each class, counted before any are brought together."""
    found = read_list(ListFile(str(path), kind, kind), label_maps(CLASSES, labels)[kind])
    assert not found.bad
    numbers = itertools.chain.from_iterable(t["class"].to_pylist() for t in found.claims)
    return Counter(class_names()[number] for number in numbers)


def reference(shared: Path) -> dict[str, list[list[int]]]:
    """The numbers of the reference table of candidates: class -> [core, all] of each column."""
    text = (shared / "metadata/FINDINGS.md").read_text()
    table = text.partition("## 6.")[2].partition("\nOverlap")[0]
    rows = [line.strip("| ").split("|") for line in table.splitlines() if line.startswith("| ")]
    return {
        row[0].strip(): [
            [int(n.replace(",", "")) for n in re.findall(r"[\d,]+", cell)] for cell in row[1:]
        ]
        for row in rows[1:]
    }


def test_the_counts_of_the_reference_are_reproduced(shared):
    wanted, folder = reference(shared), shared / "metadata"
    assert [*wanted] == [*class_names()]
    with open(folder / "vggsound/stat.csv", newline="") as handle:
        sizes = {row[0]: int(row[1]) for row in csv.reader(handle)}
    columns: tuple[tuple[int, Any], ...] = ((0, "core"), (-1, "all"))
    for place, labels in columns:
        audioset = sum(
            (
                found_by_class(path, "audioset", labels)
                for path in (folder / "audioset").glob("*_seg*")
            ),
            Counter(),
        )
        full = Counter[
            str
        ]()  # the full list is not here: its clips are counted by label in stat.csv
        for label, size in sizes.items():
            for number, _ in label_maps(CLASSES, labels)["vggsound"].meaning(label):
                full[class_names()[number]] += size
        assert {n: audioset[n] for n in wanted} == {n: c[0][place] for n, c in wanted.items()}
        assert {n: full[n] for n in wanted} == {n: c[1][place] for n, c in wanted.items()}
    test = found_by_class(folder / "vggsound/test.csv", "vggsound", "core")
    assert test == {name: c[2][0] for name, c in wanted.items()}


def test_the_published_lists_together(shared):
    rows, findings = list_segments(published(shared), RESULTS, CLASSES)
    assert adds_up(findings) and [e["rows"] for e in findings.lists] == [22_160, 20_371, 15_446]
    assert not any(entry["bad"] for entry in findings.lists)
    both = {"sources": "audioset + vggsound", "clips": 457}
    assert both in findings.sources and len(rows) == 1742 + 457 + 243
    assert sum(entry["conflicts"] for entry in findings.lists) == 34


def test_every_label_of_vggsound_can_be_a_class(shared):
    text = yaml.safe_load((ROOT / "configs/vggsound_full.yaml").read_text())
    classes = parse_workflow({"classes": text["classes"]}).classes
    only = published(shared).model_copy(update={"audioset_csvs": ()})
    rows, findings = list_segments(only, RESULTS, classes)
    assert len(classes) == 309
    assert len({row["class_name"] for row in rows}) == 309
    assert findings.lists[0]["clips"] == 15_446 and not findings.lists[0]["others"]
    with_audioset, findings = list_segments(published(shared), RESULTS, classes)
    kept = sum("vggsound" in row["sources"] for row in with_audioset)
    assert adds_up(findings) and kept > 0.9 * 15_446
    assert asdict(findings)["conflicts"]
