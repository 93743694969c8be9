"""Where clips come from: a source is a section of the config here, a function that lists its
candidates, and, where its files must be fetched or made first, a rule that does so."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

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
    fetched: bool = Field(
        False, description="true: the files are what the stage fetch says (set by source: web)"
    )
    may_be_cut: bool = Field(
        False,
        description="true: a file too short for its segment is that (set by source: mirror)",
    )


class Source(Section):
    """What every source says of itself."""

    #: Whether a rule of the workflow makes the files, so that nobody else changes them.
    made_here: ClassVar[bool] = True
    #: "module:function", called with (source, results, classes); gives candidate rows and Findings.
    candidates: ClassVar[str] = "nano4m_audio.acquire.folder:list_folder"
    #: What the listing must know of every class, besides its name.
    class_details: ClassVar[tuple[str, ...]] = ()
    #: Keys of the section that do not change which candidates are listed.
    unlisted: ClassVar[frozenset[str]] = frozenset()

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
    hard_fraction: float = Field(
        0.0,
        ge=0,
        le=0.9,
        description="share of clips that are hard to judge: two in three in "
        "trouble (far, hidden, noisy ...), one in three an impostor",
    )

    def folder(self, results: Path) -> Folder:
        return Folder(root=str(results / "barnyard"), truth_csv="truth.csv")


class Folder(Files, Source):
    """A folder of clips with a list (columns file, class; optional video_id, start_s, end_s,
    source), or with one sub-folder per class."""

    made_here: ClassVar[bool] = False
    unlisted: ClassVar[frozenset[str]] = frozenset({"truth_csv"})
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
        if self.csv and not self.csv.is_file():
            raise UserError(
                f"folder.clips_csv: {str(self.csv)!r} is not there: write it (columns file,class), "
                "or use --config folder.clips_csv=null for one sub-folder per class"
            )
        if self.truth and not self.truth.is_file():
            raise UserError(
                f"folder.truth_csv: {str(self.truth)!r} is not there: write it (columns "
                "file,kind,expected,duplicate_of), or use --config folder.truth_csv=null"
            )


class Lists(Source):
    """Lists of labelled segments of videos."""

    class_details: ClassVar[tuple[str, ...]] = (
        *("audioset", "audioset_ambiguous"),
        *("vggsound", "vggsound_ambiguous"),
    )

    audioset_csvs: tuple[str, ...] = Field((), description="AudioSet segment CSV files")
    vggsound_csvs: tuple[str, ...] = Field((), description="VGGSound CSV files (id, start, label)")
    segments_csvs: tuple[str, ...] = Field(
        (), description="lists of your own, with columns video_id or url, start_s, end_s, class"
    )
    labels: Literal["core", "all"] = Field(
        "core", description="all: also labels that mean a class and others, such as Hiss for cat"
    )

    @property
    def lists(self) -> tuple[str, ...]:
        """All files with lists."""
        return self.audioset_csvs + self.vggsound_csvs + self.segments_csvs

    def check_runnable(self) -> None:
        name = type(self).__name__.lower()
        if not self.lists:
            raise UserError(
                f"{name}: no list names its segments: set {name}.audioset_csvs, "
                f"{name}.vggsound_csvs or {name}.segments_csvs"
            )
        for path in self.lists:
            if not Path(path).is_file():
                raise UserError(f"{name}: the list {path!r} is not there")


class Mirror(Files, Lists):
    """Clips that somebody has cut already, in folders or tar archives, named by video and start."""

    made_here: ClassVar[bool] = False
    candidates: ClassVar[str] = "nano4m_audio.acquire.mirror:list_mirror"

    root: str = Field("mirror", description="the folder with the clips or archives")

    def folder(self, results: Path) -> Folder:
        return Folder(root=self.root, follow_links=self.follow_links, clips_csv=None)

    def identity(self, results: Path) -> dict[str, Any]:
        return self.folder(results).identity(results)

    def check(self) -> None:
        if not Path(self.root).is_dir():
            raise UserError(f"mirror.root: {self.root!r} is not a folder: name yours there")


class Breaker(Section):
    """When to stop asking: answers that are about this address and not about a video."""

    walls: int = Field(3, ge=1, le=1000, description="so many walls open the breaker")
    among: int = Field(10, ge=1, le=1000, description="... among so many answers in a row")
    pauses_min: tuple[Annotated[float, Field(ge=0, le=10_000)], ...] = Field(
        (60.0, 360.0),
        description="pauses before trying again [min]; then the run ends",
    )


class Web(Lists):
    """Lists whose segments are fetched from the web with yt-dlp (pip install ".[web]")."""

    candidates: ClassVar[str] = "nano4m_audio.acquire.lists:list_segments"

    rate_per_hour: float = Field(
        250.0, gt=0, le=100_000, description="videos asked for in an hour, at most"
    )
    sleep_s: tuple[Annotated[float, Field(ge=0, le=3600)], ...] = Field(
        (10.0, 20.0),
        min_length=2,
        max_length=2,
        description="pause between videos, from, to [s]",
    )
    request_sleep_s: float = Field(
        0.75, ge=0, le=60, description="pause between the requests for one video [s]"
    )
    workers: int = Field(1, ge=1, le=64, description="videos that are fetched at once")
    per_host: int = Field(2, ge=1, le=64, description="connections to one host at once")
    max_height_px: int = Field(480, ge=144, le=2160, description="largest picture height to fetch")
    max_segment_s: float = Field(
        60.0, gt=0, le=3600, description="fetch at most so much of a segment [s]"
    )
    max_mb: int = Field(500, ge=1, le=100_000, description="read at most so much of a video [MB]")
    timeout_s: float = Field(30.0, ge=1, le=600, description="wait at most so long for bytes [s]")
    route: Literal["auto", "range", "whole"] = Field(
        "auto",
        description="range reads only the segment, whole the whole file; auto: range where it can",
    )
    clients: tuple[str, ...] = Field((), description="YouTube clients to ask; none: yt-dlp's own")
    cookies: str | None = Field(None, description="file with cookies in Netscape format")
    proxy: str | None = Field(None, description="proxy, such as http://127.0.0.1:8080")
    private_hosts: tuple[str, ...] = Field(
        (), description="hosts on private addresses that may be asked, such as 127.0.0.1"
    )
    breaker: Breaker = Breaker()
    partial: bool = Field(
        False, description="true: go on with what is there; the rest counts as not fetched yet"
    )

    @property
    def unlisted(self) -> frozenset[str]:  # type: ignore[override]
        return frozenset(Web.model_fields) - frozenset(Lists.model_fields)

    def folder(self, results: Path) -> Folder:
        return Folder(root=str(results / "web" / "pieces"), clips_csv=None)


class Sources(Section):
    """The part of a config that says where clips come from."""

    source: Literal["barnyard", "folder", "mirror", "web"] = Field(
        "barnyard", description="where clips come from; the section of that name says more"
    )
    barnyard: Barnyard = Barnyard()
    folder: Folder = Folder()
    mirror: Mirror = Mirror()
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
