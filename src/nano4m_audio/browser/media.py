"""Pictures and sounds of clips as small files, named by a digest of what they are made from.

A file appears whole, and its name says what is in it: one that is there is kept, so that another
threshold makes nothing again, and an interrupted job goes on where it was. Names hold nothing from
the web.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nano4m_audio.files import put_in_place, temp_path, user_errors
from nano4m_audio.label.maps import stored_picture
from nano4m_audio.media.crop import square_crop
from nano4m_audio.media.playable import jpeg, mp3, spectrogram
from nano4m_audio.media.stored import read_audio, read_frame
from nano4m_audio.media.windows import SAMPLE_RATE_HZ
from nano4m_audio.modalities import KEYFRAMES

#: Which of a clip's ten keyframes are shown, and how large [px].
SHOWN = (0, KEYFRAMES // 2, KEYFRAMES - 1)
SIZE_PX = 160
_QUALITY = 78
#: What a clip's files end with: keyframes, spectrogram of the whole clip, its sound.
CLIP_ENDINGS = (".jpg", "-heard.jpg", ".mp3")
#: What the file of a map ends with: the same keyframes.
MAP_ENDINGS = (".jpg",)


def missing(folder: Path, digest: str, endings: Sequence[str]) -> bool:
    """Whether any of the files of ``digest`` is not there."""
    return any(not (folder / f"{digest}{ending}").is_file() for ending in endings)


def write_clip(folder: Path, digest: str, frames: Sequence[bytes], flac: bytes) -> None:
    """Write a strip of frames (JPEG bytes), the spectrogram and the sound of a decoded clip."""
    sound = read_audio(flac)
    strip = [square_crop(read_frame(frame), SIZE_PX) for frame in frames]
    contents = (
        jpeg(np.concatenate(strip, axis=1), _QUALITY),
        jpeg(spectrogram(sound, SAMPLE_RATE_HZ), 75),
        mp3(sound, SAMPLE_RATE_HZ, quick=True),
    )
    for ending, data in zip(CLIP_ENDINGS, contents, strict=True):
        _write(folder / f"{digest}{ending}", data)


def write_maps(folder: Path, digest: str, maps: Sequence[bytes]) -> None:
    """Write a strip of stored maps (PNG bytes)."""
    strip = [square_crop(stored_picture(png), SIZE_PX) for png in maps]
    _write(folder / f"{digest}{MAP_ENDINGS[0]}", jpeg(np.concatenate(strip, axis=1), _QUALITY))


def _write(path: Path, data: bytes) -> None:
    """As files.write_bytes, less the search for leftovers: one of all files follows at the end."""
    with user_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temp = temp_path(path)
        temp.write_bytes(data)
        put_in_place(temp, path)


def keyframes_shown(keyframes: Sequence[int]) -> list[int]:
    """Those of a clip's keyframes (indices of its frames) that are shown."""
    return [int(keyframes[k]) for k in SHOWN]


def remove_others(folder: Path, named: set[str]) -> int:
    """Remove the files of ``folder`` that are not ``named``; return how many."""
    others = [path for path in folder.glob("*") if path.is_file() and path.name not in named]
    for path in others:
        path.unlink()
    return len(others)


def names_of(row: dict[str, Any]) -> set[str]:
    """The files that a row of an index names."""
    files = {f"{row['clip']}{ending}" for ending in CLIP_ENDINGS}
    return files | {f"{row[m]}{ending}" for m in row if m != "clip" for ending in MAP_ENDINGS}
