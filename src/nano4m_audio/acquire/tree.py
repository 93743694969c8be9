"""List all files below a folder, also through linked folders, and what was left out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from nano4m_audio.errors import UserError

#: Containers that libav reads as video, by the endings that cameras, discs and the web give them.
# fmt: off
MEDIA_SUFFIXES = frozenset({
    ".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3gpp", ".3g2", ".mj2", ".f4v", ".ismv", ".mkv",
    ".mk3d", ".webm", ".avi", ".divx", ".flv", ".wmv", ".asf", ".mpg", ".mpeg", ".mpe", ".m2p",
    ".vob", ".ts", ".mts", ".m2t", ".m2ts", ".ogv", ".ogm", ".ogx",
})
# fmt: on
#: Brands of the MP4 family without a film: sound alone, pictures.
_STILL_OR_SOUND = (b"M4A", b"M4B", b"M4P", b"hei", b"hev", b"mif", b"msf", b"avi", b"jxl", b"crx")
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_SOUND_SUFFIXES = frozenset({".wma", ".mka", ".ogg", ".oga", ".opus"})
#: What a results folder holds from the start of its first run on: a run does not look at its own.
_RESULTS = ("source.json", "settings")
_TS_PACKETS = (188, 192, 204)


@dataclass
class Tree:
    """``files``: paths relative to the folder, with "/", sorted; ``left_out``: (path, why)."""

    files: list[str] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)


def walk(root: Path, *, hidden: bool = False) -> Tree:
    """List the files below ``root``, following links to folders, each folder once.

    Real folders come first, so that a link to one of them, or into a circle, is left out. Hidden
    files and folders (names that begin with a dot) are left out unless ``hidden``, and what runs
    write always. Raises UserError for a folder that cannot be listed.
    """
    tree = Tree()
    seen: set[tuple[int, int]] = set()
    folders, links = [root], list[Path]()
    while folders or links:
        folder = folders.pop() if folders else links.pop(0)
        try:
            info = folder.stat()
            if (info.st_dev, info.st_ino) in seen:
                tree.left_out.append((_name(folder, root), "a link to a folder that is listed"))
                continue
            entries = sorted(os.scandir(folder), key=lambda e: e.name)
        except OSError as error:
            raise UserError(f"the folder {folder} cannot be listed: {error.strerror}") from error
        seen.add((info.st_dev, info.st_ino))
        for entry in entries:
            path = folder / entry.name
            if entry.name == ".snakemake" or (entry.name.startswith(".") and not hidden):
                tree.left_out.append((_name(path, root), "hidden"))
            elif all((path / name).exists() for name in _RESULTS):
                tree.left_out.append((_name(path, root), "the results of a run"))
            elif not entry.is_dir():
                tree.files.append(_name(path, root))
            else:
                (links if entry.is_symlink() else folders).append(path)
        links.sort()
    tree.files.sort()
    tree.left_out.sort()
    return tree


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def media_files(root: Path) -> Tree:
    """The visible media files below ``root``: by their ending, or else by how they begin."""
    tree = walk(root)
    files = list(tree.files)
    tree.files.clear()
    for name in files:
        why = _not_media(root, root / name)
        if why:
            tree.left_out.append((name, why))
        else:
            tree.files.append(name)
    return tree


def _not_media(root: Path, path: Path) -> str:
    """Why a file is not taken for a film, or an empty string."""
    suffix = path.suffix.lower()
    if suffix in MEDIA_SUFFIXES:
        return ""
    try:
        if not path.is_file():
            return "no regular file"
        if not path.resolve().is_relative_to(root.resolve()):
            return f"link out of the folder with the ending {suffix!r}"
        with open(path, "rb") as handle:
            head = handle.read(1024)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if begins_like_media(head) and suffix not in _SOUND_SUFFIXES:
        return ""
    return f"{suffix} file" if suffix else "file without an ending"


def begins_like_media(head: bytes) -> bool:
    """Do these first bytes (a kilobyte is enough) begin a container of film?"""
    if head[4:8] == b"ftyp":
        return not head.startswith(_STILL_OR_SOUND, 8)
    if head[4:8] in (b"moov", b"mdat", b"wide"):  # QuickTime before there were brands
        return True
    if head[:4] == b"OggS":
        return b"theora" in head
    return (
        head.startswith((b"\x1a\x45\xdf\xa3", b"FLV\x01", b"\x00\x00\x01\xba", _ASF))
        or (head[:4] == b"RIFF" and head[8:12] == b"AVI ")
        or any(_is_ts(head, size) for size in _TS_PACKETS)
    )


def _is_ts(head: bytes, packet_bytes: int) -> bool:
    """Are there sync bytes at equal distances? (M2TS packets begin with four bytes of time.)"""
    start = 4 if packet_bytes == 192 else 0
    marks = head[start::packet_bytes]
    return len(marks) >= 4 and set(marks) == {0x47}


def fingerprints(root: Path) -> Iterator[tuple[str, str]]:
    """Yield (path, size and times of change) of every file below ``root``, hidden ones too.

    The time that the system notes itself is among them: any program may set the other one.
    """
    for name in walk(root, hidden=True).files:
        try:
            info = Path(root, name).stat()
            yield name, f"{info.st_size}\0{info.st_mtime_ns}\0{info.st_ctime_ns}"
        except OSError:
            yield name, "not there"
