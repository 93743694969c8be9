"""From what a user names, a folder with clips or config files, to the command that runs it."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nano4m_audio.acquire.folder import found_classes
from nano4m_audio.config.command_line import read_entries
from nano4m_audio.errors import UserError, did_you_mean
from nano4m_audio.taxonomy import class_names

#: The config of a folder with clips, in a checkout.
_FOLDER = Path("configs/folder.yaml")


@dataclass(frozen=True)
class Plan:
    """What Snakemake would be told: config files, entries of --config, the project's folder."""

    files: Sequence[Path]
    entries: Sequence[str]
    directory: Path | None
    cores: int

    @property
    def values(self) -> dict[str, Any]:
        """What the entries say."""
        return read_entries(self.entries, _plain)

    @property
    def command(self) -> str:
        words = ["snakemake", "--cores", str(self.cores), "results/report.html"]
        words += ["--directory", str(self.directory)] if self.directory else []
        words += ["--configfile", *map(str, self.files)] if self.files else []
        words += ["--config", *self.entries] if self.entries else []
        return shlex.join(words)

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Work where the run would: paths of a config are relative to that."""
        with contextlib.chdir(self.directory or "."):
            yield


def plan_of(
    what: Sequence[Path], entries: Sequence[str], directory: Path | None, cores: int
) -> Plan:
    """The plan for one folder, or for config files. Raises UserError for neither, and for a folder
    that cannot be listed."""
    if directory and not directory.is_dir():
        raise UserError(f"--directory: {str(directory)!r} is not a folder")
    folders = [path for path in what if path.is_dir()]
    missing = [path for path in what if not path.exists()]
    if missing:
        raise UserError(f"{missing[0]} does not exist: name a folder with clips, or a config file")
    if not folders:
        return Plan(what, entries, directory, cores)
    if len(what) > 1:
        raise UserError(
            f"{folders[0]} is a folder: name it alone, or config files with --config folder.root"
        )
    return _of_folder(folders[0], entries, directory, cores)


def _of_folder(root: Path, entries: Sequence[str], directory: Path | None, cores: int) -> Plan:
    """Clips lie in the folder, or it is a project whose clips lie in its sub-folder ``clips``."""
    given = {entry.partition("=")[0] for entry in entries}
    clips, told = root, [f"folder.root={root.resolve() if directory else root}"]
    if not directory and (root / "clips").is_dir() and not (root / "clips.csv").exists():
        others = {path.name for path in root.iterdir() if path.is_dir()} - {"clips", "results"}
        if all(name.startswith(".") for name in others):
            clips, directory, told = root / "clips", root, []
    listed = "clips.csv" if (clips / "clips.csv").exists() else None
    if listed is None:
        told.append("folder.clips_csv=null")
    others_named = set(_classes(clips, listed)) - set(class_names())
    if others_named and not any(did_you_mean(name, class_names()) for name in others_named):
        told.append("classes=from_folder")  # and not where a name looks like a slip
    told = [entry for entry in told if entry.partition("=")[0] not in given]
    checkout = Path(__file__).parents[3] / _FOLDER
    file = _FOLDER if _FOLDER.is_file() else checkout
    return Plan([file], [*told, *entries], directory, cores)


def _classes(root: Path, clips_csv: str | None) -> Sequence[str]:
    """The classes of a folder; none where its list cannot be read, which is said later."""
    try:
        return found_classes(root, clips_csv)
    except UserError:
        return ()


def _plain(entries: list[str]) -> dict[str, Any]:
    """The entry of a key without dots."""
    key, _, text = entries[0].partition("=")
    return {key: yaml.load(text, yaml.BaseLoader)}
