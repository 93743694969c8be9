"""What the model of the leading experiment makes, beside the truth and the ceiling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nano4m_audio.files import read_json, user_errors
from nano4m_audio.generation.shown import INDEX
from nano4m_audio.modalities import MODALITIES
from nano4m_audio.paths import Results
from nano4m_audio.report import media

#: At most this much of the page; examples take what is left of their budget.
MOST_BYTES = 4_500_000
#: Task -> its title, and how to read it.
WORDS = {
    "audio_to_caption": (
        "Sound to caption",
        "The model hears the sound alone and writes the caption, piece by piece.",
    ),
    "rgb_to_depth": (
        "Picture to depth",
        "One picture has one depth, so made and true should look alike. Light is near.",
    ),
    "rgb_to_normals": (
        "Picture to surface normals",
        "One picture has one set of normals, so made and true should look alike.",
    ),
    "caption_to_rgb": (
        "Caption to picture",
        "Any picture of what the caption says is right: look for its subject, not for the true "
        "picture.",
    ),
    "audio_to_rgb": (
        "Sound to picture",
        "Any picture of what is heard is right: look for its subject, not for the true picture.",
    ),
    "rgb_to_audio": (
        "Picture to sound",
        "Any sound of what is seen is right: listen for its voice, not for the true sound.",
    ),
    "rgb_to_semantic": (
        "Picture to semantic sound",
        "Every id sounds as its cluster does on average: listen for what it is, not for how it "
        "sounds. Sound itself was made after these ids.",
    ),
    "rgb_filled": (
        "Picture filled in",
        "Half of the tokens are given, at random places; what is grey is made.",
    ),
    "audio_continued": (
        "Sound continued",
        "The beginning is given, and silence for the rest, which is made.",
    ),
}
#: What stands beside each other, in this order.
COLUMNS = ("given", "made", "true", "ceiling")


@dataclass(frozen=True)
class Cell:
    """One of COLUMNS: a text, or data URIs of a picture, or of a sound and its spectrogram."""

    column: str
    title: str
    text: str = ""
    picture: str = ""
    sound: str = ""

    @property
    def size_bytes(self) -> int:
        return len(self.text) + len(self.picture) + len(self.sound)


@dataclass(frozen=True)
class Row:
    """One clip in one task."""

    clip_id: str
    class_name: str
    cells: list[Cell]


@dataclass(frozen=True)
class Made:
    """One task with its clips. ``facts`` are those of generation.tasks.agreement."""

    title: str
    words: str
    facts: Mapping[str, Any]
    rows: list[Row]

    @property
    def layout(self) -> str:
        """Players need room: "heard" where the model makes sounds, "hears" where it gets one."""
        heard = {cell.column for row in self.rows for cell in row.cells if cell.sound}
        return "heard" if "made" in heard else "hears" if heard else ""


@dataclass(frozen=True)
class Generated:
    """What the section shows; ``left_out`` clips did not fit into the page."""

    split: str
    sampling: Mapping[str, Any]
    tasks: list[Made] = field(default_factory=list)
    left_out: int = 0
    size_bytes: int = 0


def read_generated(results: Path, config: Mapping[str, Any]) -> Generated | None:
    """What was made for the report; None where nothing was, or nothing was asked for."""
    folder = Results(results).generated(config["report"]["experiment"])
    path = folder / INDEX
    if not config["generate"]["clips"] or not path.is_file():
        return None
    index = read_json(path, "make it again")
    rows, size = [], 0
    for number, clip in enumerate(index["clips"]):
        row = [_row(folder, clip, number, task) for task in index["tasks"]]
        more = sum(cell.size_bytes for made in row for cell in made.cells)
        if size + more > MOST_BYTES:
            break
        rows.append(row)
        size += more
    tasks = [
        Made(*WORDS[task["name"]], task, [row[i] for row in rows])
        for i, task in enumerate(index["tasks"])
    ]
    left_out = len(index["clips"]) - len(rows)
    return Generated(index["split"], index["sampling"], tasks, left_out, size)


def _row(folder: Path, clip: Mapping[str, str], number: int, task: Mapping[str, Any]) -> Row:
    cells = []
    for column in COLUMNS:
        if task["cells"][column]:
            modality = task["source" if column == "given" else "target"]
            shown = task["cells"][column][number]
            cells.append(_cell(folder, column, MODALITIES[modality].title, shown))
    return Row(clip["clip_id"], clip["class_name"], cells)


def _cell(folder: Path, column: str, title: str, shown: Mapping[str, str]) -> Cell:
    if "text" in shown:
        return Cell(column, title, text=shown["text"])
    picture = _uri(folder / shown.get("picture", shown.get("spectrogram", "")))
    return Cell(
        column, title, "", picture, _uri(folder / shown["sound"]) if "sound" in shown else ""
    )


def _uri(path: Path) -> str:
    with user_errors(path):
        return media.file_uri(path)
