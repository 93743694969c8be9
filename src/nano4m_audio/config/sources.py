"""Where clips come from: a source is a section of the config here, a function that lists its
candidates, and, where its files must be fetched or made first, a rule that does so."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from nano4m_audio.errors import UserError
from nano4m_audio.section import Section
from nano4m_audio.taxonomy import SoundClass, known_classes, read_classes


class Files(Section):
    """Where the files of the candidates lie: all that the stages that read them are told."""

    root: str = Field("clips", description="the folder; paths in the list are relative to it")
    follow_links: bool = Field(
        False, description="true: read files that symbolic links in the folder lead out to"
    )


class Source(Section):
    """What every source says of itself. ``made_here``: a rule of the workflow writes its files."""

    made_here: ClassVar[bool] = True
    #: "module:function", called with (folder, classes); returns candidate rows and Findings.
    candidates: ClassVar[str] = "nano4m_audio.acquire.folder:list_folder"

    def folder(self, results: Path) -> Folder:
        """The folder in which its files lie, with their list, when they are there."""
        raise NotImplementedError

    def identity(self, results: Path) -> dict[str, Any]:
        """What else than its name tells this source from another one of the same kind."""
        return {}

    def check(self) -> None:
        """Raise UserError, in one line, for a source that is not there."""

    def check_runnable(self) -> None:
        """Raise UserError, in one line, for a source that can be planned but not yet read."""


class Barnyard(Source):
    """The synthetic world: eleven animals with planted defects, rendered to ordinary MP4 files."""

    purpose: Literal["demo", "mini", "test"] = Field(
        "demo", description="which family of random streams to draw from; families never overlap"
    )
    seed: int = Field(1, ge=0, description="seed of the world")
    clips: int = Field(330, ge=11, le=1_000_000, description="clips to film, defects included")
    clip_s: float = Field(6.0, ge=4.5, le=30, description="length of a clip [s]")
    fps: float = Field(10.0, ge=3, le=60, description="frames per second of the films")
    defect_fraction: float = Field(0.2, ge=0, le=0.9, description="share of planted defects")

    def folder(self, results: Path) -> Folder:
        return Folder(root=str(results / "barnyard"), truth_csv="truth.csv")


class Folder(Files, Source):
    """A folder of clips with a list (columns file, class; optional video_id, start_s, source), or
    with one sub-folder per class."""

    made_here: ClassVar[bool] = False
    clips_csv: str | None = Field(
        "clips.csv", description="the list inside the folder; null scans one sub-folder per class"
    )
    truth_csv: str | None = Field(
        None,
        description="truth in the folder (file, kind, expected, duplicate_of), to score filters",
    )

    @property
    def csv(self) -> Path | None:
        """The list of clips, if there is one."""
        return Path(self.root, self.clips_csv) if self.clips_csv else None

    @property
    def truth(self) -> Path | None:
        """The truth about its clips, if there is one."""
        return Path(self.root, self.truth_csv) if self.truth_csv else None

    def folder(self, results: Path) -> Folder:
        return self

    def identity(self, results: Path) -> dict[str, Any]:
        """A folder beside the results is named from there, so that both can move together."""
        root, here = Path(self.root).resolve(), results.resolve().parent
        return {"root": os.path.relpath(root, here) if root.is_relative_to(here) else str(root)}

    def check(self) -> None:
        if not Path(self.root).is_dir():
            raise UserError(
                f"folder.root: {self.root!r} is not a folder: put your clips there, "
                "or name yours with --config folder.root=PATH"
            )


class Web(Source):
    """AudioSet and VGGSound segment lists, fetched from the web."""

    audioset_csvs: tuple[str, ...] = Field((), description="AudioSet segment CSV files")
    vggsound_csvs: tuple[str, ...] = Field((), description="VGGSound CSV files (id, start, label)")
    max_height_px: int = Field(480, ge=144, le=2160, description="largest picture height to fetch")

    def folder(self, results: Path) -> Folder:
        return Folder(root=str(results / "web"), clips_csv=None)

    def check_runnable(self) -> None:
        raise UserError(
            "source = 'web': fetching is not part of this version yet; "
            "use 'barnyard' or 'folder' (your own clips)"
        )


class Sources(Section):
    """The part of a config that says where clips come from."""

    source: Literal["barnyard", "folder", "web"] = Field(
        "barnyard", description="where clips come from; the section of that name says more"
    )
    barnyard: Barnyard = Barnyard()
    folder: Folder = Folder()
    web: Web = Web()

    @property
    def chosen_source(self) -> Source:
        """The section of the source in use."""
        return getattr(self, self.source)


class Candidates(Sources):
    """What the stage ``candidates`` is told; of the classes their names."""

    classes: dict[str, SoundClass] = Field(known_classes(), description="classes to keep, in order")
    n_shards: int = Field(
        4, ge=1, le=9999, description="shards per table; a change computes no row anew"
    )

    @field_validator("classes", mode="before")
    @classmethod
    def _named_classes(cls, value: Any) -> dict[str, Any]:
        return read_classes(value)

    def class_details(self, *details: str) -> dict[str, dict[str, Any]]:
        """These details of every class by its name, as plain values: what one stage must know."""
        return {
            name: entry.model_dump(mode="json", include=set(details))
            for name, entry in self.classes.items()
        }
