"""Clips of a mirror are found by their names in folders and archives, and nothing is unpacked."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nano4m_audio.acquire.decode import decode_clip
from nano4m_audio.acquire.mirror import Clip, find_clips, list_mirror, match
from nano4m_audio.acquire.stage import check_files, decode_clips
from nano4m_audio.acquire.video_names import readings
from nano4m_audio.config.schema import DecodeFiles
from nano4m_audio.config.sources import Files, Mirror
from nano4m_audio.errors import UserError
from nano4m_audio.paths import Results
from nano4m_audio.store import RowStore
from nano4m_audio.tables import write_rows
from nano4m_audio.taxonomy import known_classes

ID, OTHER, THIRD, GONE = "-0_abcDEF12", "bbbbbbbbbbb", "Yccccccccc_", "ddddddddddd"


@pytest.fixture(scope="module")
def film_bytes(film, clicks, tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    return [film(folder / f"{n}.mp4", sound=clicks(4, [1.0 + n])).read_bytes() for n in range(3)]


def _tar(path, members, kind=tarfile.GNU_FORMAT):
    with tarfile.open(path, "w", format=kind) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def _listed(root, *segments):
    path = root.parent / "list.csv"
    lines = ["video_id,start_s,end_s,class", *(",".join(map(str, s)) for s in segments)]
    path.write_text("\n".join(lines) + "\n")
    return Mirror(root=str(root), segments_csvs=(str(path),))


def _segments(*named):
    return [
        {"clip_id": f"{video}@{round(1000 * start)}", "video_id": video, "start_s": start}
        for video, start in named
    ]


def _clips(*names):
    return [Clip(name, None, name) for name in names]


@pytest.mark.parametrize(
    ("name", "start_s"),
    [
        (f"{ID}_000010.mp4", 10),
        (f"a/b/{ID}_10.mp4", 10),
        (f"{ID}_10000_20000.mp4", 10),
        (f"{ID}_10.0_20.0.mkv", 10),
        (f"{ID}_000010_000020.webm", 10),
        (f"{ID}.mp4", None),
        (f"Some title [{ID}].mp4", None),
        (f"Y{ID}.mp4", None),
        (f"Y{ID}_10_20.mp4", 10),
    ],
)
def test_names_that_mirrors_give(name, start_s):
    assert (ID, start_s) in readings(name)
    matched, left = match(_segments((ID, 10.0)), _clips(name))
    assert [clip.name for clip in matched.values()] == [name] and not left


def test_an_id_that_begins_with_y_keeps_it():
    matched, _ = match(_segments((THIRD, 3.0)), _clips(f"{THIRD}_000003.mp4"))
    assert matched


def test_a_name_without_a_start_needs_a_video_with_one_segment():
    matched, left = match(_segments((ID, 10.0), (ID, 40.0)), _clips(f"{ID}.mp4"))
    assert not matched and left == [(f"{ID}.mp4", "clip that no list names")]


def test_starts_are_rounded_and_the_nearest_counts():
    matched, left = match(
        _segments((ID, 9.4), (ID, 10.2), (ID, 30.0)),
        _clips(f"{ID}_000010.mp4", f"{ID}_000009.mp4", f"{ID}_000031.mp4", f"a/{ID}_10.mp4"),
    )
    named = {f"{ID}@9400": f"{ID}_000009.mp4", f"{ID}@10200": f"{ID}_000010.mp4"}
    assert {clip_id: clip.name for clip_id, clip in matched.items()} == named
    assert left == [
        (f"{ID}_000031.mp4", "clip that no list names"),
        (f"a/{ID}_10.mp4", "second clip of a segment"),
    ]


@settings(max_examples=60, deadline=None)
@given(
    starts=st.sets(st.integers(0, 200), max_size=12),
    present=st.sets(st.integers(0, 200), max_size=12),
)
def test_each_segment_has_its_own_clip_and_each_clip_one_segment(starts, present):
    clips = _clips(*(f"{ID}_{start:06d}.mp4" for start in present))
    matched, left = match(_segments(*((ID, float(s)) for s in starts)), clips)
    assert set(matched) == {f"{ID}@{1000 * s}" for s in starts & present}
    assert len(set(matched.values())) == len(matched) and len(matched) + len(left) == len(clips)


@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_clips_are_read_inside_folders_and_archives(tmp_path, film_bytes, kind):
    root = tmp_path / "mirror"
    (root / "part").mkdir(parents=True)
    (root / "part" / f"{OTHER}_000003.mp4").write_bytes(film_bytes[1])
    deep = "scratch/" + "x" * (150 if kind != tarfile.USTAR_FORMAT else 20)
    members = [
        ("notes.txt", b"words"),
        (f"{deep}/{ID}_000010.mp4", film_bytes[0]),
        (f"../../{THIRD}.mp4", film_bytes[2]),
    ]
    archive = _tar(root / "part" / "a.tar", members, kind)
    source = _listed(
        root,
        (ID, 10, 20, "dog"),
        (OTHER, 3, 13, "cat"),
        (THIRD, 7, 17, "dog"),
        (GONE, 0, 10, "cat"),
    )
    before = sorted(path for path in tmp_path.rglob("*"))
    results = Results(tmp_path / "results")
    rows, findings = list_mirror(source, results, known_classes())
    assert sorted(path for path in tmp_path.rglob("*")) == before  # nothing is unpacked
    by_id = {row["video_id"]: row for row in rows}
    assert by_id[GONE]["path"] == ""
    start, count = by_id[ID]["byte_start"], by_id[ID]["byte_count"]
    assert archive.read_bytes()[start : start + count] == film_bytes[0]
    assert [(k["why"], k["files"]) for k in findings.left_out] == [(".txt member of an archive", 1)]
    write_rows(results.table("candidates", "0000"), "candidates", rows)
    files = Files(root=str(root), may_be_cut=True)
    check_files(results, "0000", files)
    media = {
        row["clip_id"].split("@")[0]: row
        for row in pq.read_table(results.table("media", "0000")).to_pylist()
    }
    assert (media[GONE]["status"], media[GONE]["reason"]) == ("failed", "not_in_mirror")
    for video, data in zip((ID, OTHER, THIRD), film_bytes, strict=True):
        assert media[video]["sha256"] == hashlib.sha256(data).hexdigest()
        assert media[video]["size_bytes"] == len(data)
    decode_clips(results, "0000", DecodeFiles(files=files))
    clips = pq.read_table(results.table("clips", "0000")).to_pylist()
    assert [row["status"] for row in clips] == ["ok"] * 3
    outside = [p for p in tmp_path.rglob("*.mp4") if p.parent != root / "part"]
    assert not outside


@pytest.mark.parametrize("kind", [".mp4", ".mkv", ".ts"])
@pytest.mark.parametrize(
    ("name", "segment", "film_s", "window"),
    [
        (ID, (5, 9), 12, (5, 9)),  # the whole video
        (ID, (5, 9), 9, (5, 9)),
        (ID, (5, 9), 4, None),  # a cut of it
        (ID, (0, 4), 12, (0, 4)),
        (ID, (0, 4), 4, None),
        (ID, (5, 12), 8, None),  # neither: it cannot hold the segment
        (f"{ID}_000005", (5, 9), 12, None),  # its name says that it is a cut
    ],
)
def test_a_segment_is_taken_out_of_a_whole_video(
    film, clicks, tmp_path, kind, name, segment, film_s, window
):
    root = tmp_path / "mirror"
    root.mkdir()
    path = film(root / f"{name}{kind}", seconds=film_s, sound=clicks(film_s, [film_s - 1.0]))
    results = Results(tmp_path / "results")
    rows, _ = list_mirror(_listed(root, (ID, *segment, "dog")), results, known_classes())
    write_rows(results.table("candidates", "0000"), "candidates", rows)
    files = Files(root=str(root), may_be_cut=True)
    check_files(results, "0000", files)
    decode_clips(results, "0000", DecodeFiles(files=files))
    (row,) = pq.read_table(results.table("clips", "0000")).to_pylist()
    wanted = decode_clip(path, window=window)
    assert (row["status"], row["message"]) == ("ok", "")
    assert row["duration_s"] == pytest.approx(wanted.duration_s)
    (stored,) = RowStore(results.store, "clips", "0000").read([row["key"]]).to_pylist()
    assert (stored["frames"], stored["audio_flac"]) == (list(wanted.frames), wanted.audio_flac)


def test_links_and_devices_in_an_archive_are_refused(tmp_path):
    root = tmp_path / "mirror"
    root.mkdir()
    with tarfile.open(root / "a.tar", "w") as archive:
        link = tarfile.TarInfo(f"{ID}_000010.mp4")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        same = tarfile.TarInfo(f"{OTHER}_000010.mp4")
        same.type, same.linkname = tarfile.LNKTYPE, "b.mp4"
        archive.addfile(same)
    rows, findings = list_mirror(
        _listed(root, (ID, 10, 20, "dog"), (OTHER, 10, 20, "dog")),
        Results(tmp_path / "results"),
        known_classes(),
    )
    assert {row["path"] for row in rows} == {""}
    assert [(k["why"], k["files"]) for k in findings.left_out] == [
        ("link or device in an archive", 2)
    ]


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tgz", "a.tar.zst"])
def test_a_compressed_archive_is_one_line(tmp_path, name):
    root = tmp_path / "mirror"
    root.mkdir()
    (root / name).write_bytes(os.urandom(100))
    with pytest.raises(UserError, match="decompress it to a .tar first") as caught:
        list_mirror(_listed(root, (ID, 1, 11, "dog")), Results(tmp_path), known_classes())
    assert "\n" not in str(caught.value)


def test_a_damaged_archive_is_one_line(tmp_path, film_bytes):
    root = tmp_path / "mirror"
    root.mkdir()
    whole = _tar(root / "a.tar", [(f"{ID}_000010.mp4", film_bytes[0])]).read_bytes()
    (root / "a.tar").write_bytes(whole[: len(film_bytes[0]) // 2])
    with pytest.raises(UserError, match="fetch it again"):
        list_mirror(_listed(root, (ID, 10, 20, "dog")), Results(tmp_path), known_classes())


def _damaged(tar: bytes, at: int, how: str) -> bytes:
    """Ten members' archive with a fault in or at the header of the sixth."""
    if how == "flipped":
        return tar[: at + 3] + bytes([tar[at + 3] ^ 0xFF]) + tar[at + 4 :]
    if how == "zeroed":
        return tar[:at] + bytes(512) + tar[at + 512 :]
    if how == "twice":
        return tar + tar
    if how == "absurd size":
        header = bytearray(tar[at : at + 512])
        header[124:136] = b"\xff" * 12
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        return tar[:at] + header + tar[at + 512 :]
    return tar[: at + {"cut before": 0, "cut inside": 200, "cut in its data": 1200}[how]]


@pytest.mark.parametrize(
    "how",
    ["flipped", "zeroed", "twice", "absurd size", "cut before", "cut inside", "cut in its data"],
)
def test_no_clip_of_a_damaged_archive_is_silently_lost(tmp_path, how):
    names = [f"abcdefghi{n:02d}_000010.mp4" for n in range(10)]
    whole = _tar(tmp_path / "a.tar", [(name, b"y" * 3000) for name in names])
    assert [clip.name for clip in find_clips(tmp_path)[0]] == names
    whole.write_bytes(_damaged(whole.read_bytes(), 5 * (512 + 3072), how))
    with pytest.raises(UserError, match="a.tar.* cannot be read .*fetch it again") as caught:
        find_clips(tmp_path)
    assert "\n" not in str(caught.value)
