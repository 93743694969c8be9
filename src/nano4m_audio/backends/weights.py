"""Registry and cache of pretrained weights, verified by SHA-256.

``weights.yaml`` names every file. One id is one folder, ``<cache>/weights/<id>/``, where the cache
is ``NANO4M_AUDIO_CACHE`` or ``~/.cache/nano4m-audio``. A ``weights.yaml`` in the cache replaces
entries of the list: mirrors of a site, or weights of your own.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from nano4m_audio.backends import network
from nano4m_audio.backends.download import MAX_BYTES, Progress, download, size_text
from nano4m_audio.errors import UserError, did_you_mean
from nano4m_audio.files import copy_file, data_yaml, read_json, sha256, write_json
from nano4m_audio.locks import locked
from nano4m_audio.yaml_text import check_yaml

#: In an address: the commit that whoever fetches names.
REVISION = "{revision}"
_LIST = Path(__file__).with_name("weights.yaml")
_VERIFIED = ".verified.json"


@dataclass(frozen=True)
class WeightFile:
    """One file; ``sha256`` and ``size_bytes`` are None where its maker publishes none.

    ``about_bytes`` is what its parameters take, for a file without a published size, and
    ``max_bytes`` the most that is taken of it.
    """

    name: str
    urls: tuple[str, ...]
    sha256: str | None = None
    size_bytes: int | None = None
    about_bytes: int | None = None
    max_bytes: int = MAX_BYTES

    @property
    def size(self) -> str:
        """Its size as far as it is known."""
        if self.size_bytes is not None:
            return size_text(self.size_bytes)
        return f"about {size_text(self.about_bytes)}" if self.about_bytes else "size unknown"


@dataclass(frozen=True)
class Weights:
    """One entry of the list: the files of one folder."""

    id: str
    made_by: str
    licence: str
    note: str
    files: tuple[WeightFile, ...]


def cache_dir() -> Path:
    """Where everything that is fetched lies."""
    return Path(os.environ.get("NANO4M_AUDIO_CACHE") or "~/.cache/nano4m-audio").expanduser()


def all_weights() -> dict[str, Weights]:
    """Every known entry by id; those of ``<cache>/weights.yaml`` come first."""
    own = cache_dir() / "weights.yaml"
    found = dict(_read_list(_LIST, 0))
    if own.exists():
        found.update(_read_list(own, own.stat().st_mtime_ns))
    return found


def get_weights(weights_id: str) -> Weights:
    """One entry. Raises UserError with a suggestion for an unknown id."""
    known = all_weights()
    if weights_id not in known:
        raise UserError(
            f"unknown weights {weights_id!r}{did_you_mean(weights_id, known)} "
            f"(known: {', '.join(known)})"
        )
    return known[weights_id]


@cache
def _read_list(path: Path, mtime_ns: int) -> dict[str, Weights]:
    """The entries of one list; ``mtime_ns`` makes a changed file a new one."""
    try:
        text = path.read_text("utf-8")
        if path != _LIST:
            check_yaml(text, str(path))
        entries = data_yaml(text) or {}
        return {name: _entry(name, values) for name, values in entries.items()}
    except RecursionError:
        raise UserError(f"{path}: nested too deeply") from None
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: not a list of weights ({' '.join(str(error).split())})") from None


def _entry(name: str, values: Mapping[str, Any]) -> Weights:
    files = tuple(_file(name, entry) for entry in values["files"])
    made_by, licence, note = (str(values.get(key, "")) for key in ("made_by", "licence", "note"))
    return Weights(name, made_by, licence, note, files)


def _file(weights_id: str, entry: Mapping[str, Any]) -> WeightFile:
    name, urls, sha256 = entry["name"], entry.get("urls") or [], entry.get("sha256")
    if not isinstance(name, str) or Path(name).name != name:
        raise ValueError(f"{weights_id}: {name!r} is not a plain file name")
    if not isinstance(urls, list) or not all(isinstance(url, str) for url in urls):
        raise ValueError(f"{weights_id}/{name}: urls is not a list of addresses")
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", str(sha256)):
        raise ValueError(f"{weights_id}/{name}: sha256 is not 64 hexadecimal digits")
    sizes = {key: entry.get(key) for key in ("size_bytes", "about_bytes", "max_bytes")}
    for key, size in sizes.items():
        if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 0):
            raise ValueError(f"{weights_id}/{name}: {key} = {size!r} is not a number of bytes")
    about = sizes["about_bytes"]
    most = sizes["max_bytes"] or (2 * about + 1_000_000 if about else MAX_BYTES)
    digest = str(sha256).lower() if sha256 else None
    return WeightFile(name, tuple(urls), digest, sizes["size_bytes"], about, most)


def path_of(weights_id: str, file: WeightFile) -> Path:
    """Where a file of an entry lies, or belongs."""
    return cache_dir() / "weights" / weights_id / file.name


def folder(weights_id: str) -> Path:
    """The folder with the files of an entry, all present and verified.

    Raises UserError saying which file to put where when one is absent, and when one is not what the
    list or the lock file says. A file is hashed again only when its size or time has changed.
    """
    entry = get_weights(weights_id)
    missing = [f for f in entry.files if not path_of(weights_id, f).is_file()]
    if missing:
        raise UserError(how_to_place(weights_id, missing))
    for file in entry.files:
        path, wanted = path_of(weights_id, file), expected_sha256(weights_id, file)
        found = _digest(path)
        if found != wanted:
            raise UserError(
                f"{path} is refused: its SHA-256 is {found}, not {wanted}; delete it and run "
                f"`nano4m-audio weights fetch {weights_id}`"
            )
    return cache_dir() / "weights" / weights_id


def identity(weights_id: str) -> str:
    """What identifies the weights in content keys: a digest of the expected hashes of their files.

    Loads nothing. A file whose hash is neither published nor recorded yet counts as unknown until
    it is there, so the identity is stable, and another one once the file has been fetched.
    """
    files = get_weights(weights_id).files
    parts = [[file.name, expected_sha256(weights_id, file) or "unknown"] for file in files]
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=8).hexdigest()


def expected_sha256(weights_id: str, file: WeightFile) -> str | None:
    """The published hash, else the one first seen here, else None (the file is not here yet)."""
    if file.sha256:
        return file.sha256
    known = _read_json(_lock_file()).get(f"{weights_id}/{file.name}")
    if known is None and path_of(weights_id, file).is_file():
        known = _digest(path_of(weights_id, file))
        _record(weights_id, file, known)
    return known


def how_to_place(weights_id: str, files: Sequence[WeightFile]) -> str:
    """One line that says which files are missing and both ways to get them."""
    return (
        f"weights {weights_id!r} are not here: run `nano4m-audio weights fetch {weights_id}` "
        f"on a machine with internet access, or fetch by hand and `nano4m-audio weights add "
        f"{weights_id} FILES`, which belong here: "
        + "; ".join(_place(weights_id, file) for file in files)
    )


def _place(weights_id: str, file: WeightFile) -> str:
    source = f" from {file.urls[0]}" if file.urls else " (no public address is known)"
    return f"{path_of(weights_id, file)} ({file.size}){source}"


def missing_files(ids: Iterable[str]) -> dict[str, list[WeightFile]]:
    """The files that are not in the cache, by id; ids with all their files are left out."""
    found = {i: [f for f in get_weights(i).files if not path_of(i, f).exists()] for i in ids}
    return {i: files for i, files in found.items() if files}


def advice(missing: Mapping[str, Sequence[WeightFile]], command: str = "") -> str:
    """Lines that say how to get these files, with a network and without, and where each belongs."""
    fetch_command = command or f"nano4m-audio weights fetch {' '.join(missing)}"
    places = [f"  {i}: {_place(i, file)}" for i, files in missing.items() for file in files]
    return "\n".join(
        [
            f"with a network:    {fetch_command}",
            "without a network: fetch them by hand on another machine, then here, for each id,",
            "                   nano4m-audio weights add ID FILES, or copy them to these places:",
            *places,
        ]
    )


OFFLINE = "NANO4M_AUDIO_OFFLINE"


def is_offline(*names: str) -> bool:
    """Whether the user has forbidden downloads, here or (without ``names``) for Hugging Face."""
    names = names or (OFFLINE, "HF_HUB_OFFLINE")
    return any(os.environ.get(n, "").lower() not in ("", "0", "false", "no", "off") for n in names)


def is_here(weights_id: str, file: WeightFile) -> bool:
    """Whether the file lies in the cache and is the right one."""
    path = path_of(weights_id, file)
    return path.is_file() and _digest(path) == expected_sha256(weights_id, file)


class NotFetched(UserError):
    """A file that could not be had: ``why`` alone, and as a message also where it belongs."""

    def __init__(self, why: str, weights_id: str, file: WeightFile) -> None:
        super().__init__(f"{why}; {how_to_place(weights_id, [file])}")
        self.why = why


def fetch(
    weights_id: str,
    file: WeightFile,
    progress: Progress = lambda done, total: None,
    unreachable: Mapping[str, str] | None = None,
    revision: str | None = None,
) -> bool:
    """Download one file unless it is there and right; returns whether it was downloaded.

    ``revision`` is the commit to take, where the list pins none.

    ``unreachable`` holds addresses that are not worth a try (see network.unreachable; None: look).
    Raises NotFetched when it cannot be had, also in offline mode and for a file without a URL.
    """
    if is_here(weights_id, file):
        return False
    if is_offline() or not file.urls:
        why = "offline mode is on" if file.urls else "no public address is known"
        raise NotFetched(why, weights_id, file)
    if any(REVISION in url for url in file.urls):
        file = _at(revision, weights_id, file)
    silent = network.unreachable(file.urls) if unreachable is None else unreachable
    urls = [url for url in file.urls if url not in silent]
    if not urls:
        why = network.hosts({url: silent[url] for url in file.urls})
        raise NotFetched(f"no network: cannot reach {why}", weights_id, file)
    path = path_of(weights_id, file)
    with locked(path.parent):
        wanted = expected_sha256(weights_id, file)
        try:
            digest = download(urls, path, wanted, file.size_bytes, progress, file.max_bytes)
        except UserError as error:
            seen = f"; that hash was seen first and is kept in {_lock_file()}"
            why = f"{error}{seen if wanted and not file.sha256 else ''}"
            raise NotFetched(why, weights_id, file) from None
        _record(weights_id, file, digest)
        _remember(path, digest)
    return True


def _at(revision: str | None, weights_id: str, file: WeightFile) -> WeightFile:
    """The file at a commit. Raises NotFetched without one: a branch may hold another file soon."""
    if revision is None or not re.fullmatch(r"[0-9a-f]{40}", revision):
        history = file.urls[0].partition("/resolve/")[0] + "/commits/main"
        why = (
            "no commit of it is pinned here: look it up at "
            f"{history} and name it, --revision with its 40 hexadecimal digits"
        )
        raise NotFetched(why, weights_id, file)
    return replace(file, urls=tuple(url.replace(REVISION, revision) for url in file.urls))


def add_file(weights_id: str, source: Path) -> Path:
    """Copy a file that you have into its place; refused when its hash is not the expected one."""
    entry = get_weights(weights_id)
    file = next((f for f in entry.files if f.name == source.name), None)
    if file is None:
        names = ", ".join(f.name for f in entry.files)
        raise UserError(f"{source}: weights {weights_id!r} have no file of this name ({names})")
    if not source.is_file():
        raise UserError(f"{source}: no such file")
    found, wanted = sha256(source), expected_sha256(weights_id, file)
    if wanted not in (None, found):
        raise UserError(f"{source} is refused: its SHA-256 is {found}, not {wanted}")
    path = path_of(weights_id, file)
    if not (path.exists() and path.samefile(source)):
        copy_file(source, path)
    _record(weights_id, file, found)
    return path


def problem(weights_id: str, file: WeightFile) -> str:
    """What is wrong with a file, or "" ; every byte is read, whatever was verified before."""
    path = path_of(weights_id, file)
    if not path.is_file():
        return "missing"
    found = sha256(path)
    wanted = expected_sha256(weights_id, file)
    return "" if found == wanted else f"SHA-256 {found} instead of {wanted}"


def _lock_file() -> Path:
    return cache_dir() / "weights.lock.json"


def _record(weights_id: str, file: WeightFile, digest: str) -> None:
    """Keep the first hash that was seen of a file without a published one."""
    if file.sha256 or not os.access(cache_dir(), os.W_OK):  # a shared cache may be read-only
        return
    with locked(cache_dir()):
        known = _read_json(_lock_file())
        if known.setdefault(f"{weights_id}/{file.name}", digest) == digest:
            write_json(_lock_file(), known)


def _digest(path: Path) -> str:
    """SHA-256 of a file, from the note of an earlier look if size and times are still the same."""
    noted = _read_json(path.with_name(_VERIFIED)).get(path.name)
    if noted and noted[:-1] == _state(path):
        return noted[-1]
    digest = sha256(path)
    if os.access(path.parent, os.W_OK):
        _remember(path, digest)
    return digest


def _remember(path: Path, digest: str) -> None:
    notes = path.with_name(_VERIFIED)
    known = {**_read_json(notes), path.name: [*_state(path), digest]}
    write_json(notes, known)


def _state(path: Path) -> list[int]:
    """Size and times of a file; the last one is the system's own, which no program sets back."""
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def _read_json(path: Path) -> dict[str, Any]:
    return read_json(path, "delete it and run again") if path.exists() else {}
