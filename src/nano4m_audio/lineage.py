"""What each file under ``results/`` was made from, and which of them can no longer be trusted.

Snakemake deletes the output of a job that fails, and does not miss it when a later file is still
there: a target that is asked for alone would stay what the old parameters made of it. So every
command leaves, beside its output, a record of the fingerprints of what it read and wrote, and at
the start of a run each file whose record no longer holds is made again. The records are files of
their own: the bytes of an output stay a function of its rows, so that Snakemake's checksums prune.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from nano4m_audio.checked import footer_digest
from nano4m_audio.errors import UserError
from nano4m_audio.files import write_json

RECORDS = ".made_from"
#: Folders in a results folder without records: finished rows, and what no command reads as a whole.
_NOT_WALKED = ("store", "barnyard", "web", "logs", "benchmarks")
_END_BYTES = 1 << 20
#: So far [s] the clocks of computers that share files may be apart.
_APART_S = 60


def fingerprint(path: Path) -> str:
    """A digest that another content has not: "" for a file that is not there.

    Of a Parquet file its footer is digested, which holds the digests of its columns; of any other
    file the size and both ends (1 MiB each), which no retrained weights have in common. Raises
    UserError for a file that is there and cannot be read.
    """
    try:
        if path.suffix == ".parquet":
            return footer_digest(path)
        size = path.stat().st_size
        digest = hashlib.blake2b(size.to_bytes(8, "big"), digest_size=16)
        with open(path, "rb") as handle:
            digest.update(handle.read(_END_BYTES))
            handle.seek(max(handle.tell(), size - _END_BYTES))
            digest.update(handle.read())
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror or error}): put that right and run again"
        ) from None
    return digest.hexdigest()


def record(outputs: Path | Sequence[Path], inputs: Iterable[Path]) -> None:
    """Note, beside the first of ``outputs``, what they are and what they were made from."""
    files = [outputs] if isinstance(outputs, Path) else list(outputs)
    folder = files[0].parent
    sides = {"outputs": files, "inputs": inputs}
    noted = {
        side: {os.path.relpath(path, folder): fingerprint(path) for path in paths}
        for side, paths in sides.items()
    }
    write_json(folder / RECORDS / f"{files[0].name}.json", noted)


def outdated(results: Path) -> list[Path]:
    """The files of every record that no longer holds: one of them, or of what they were made from,
    is missing or has another content. Directly; what follows from these is Snakemake's to know."""
    now = lru_cache(None)(fingerprint)
    found: list[Path] = []
    for path in _records(results):
        found += _broken(path, now)
    return found


def is_outdated(output: Path) -> bool:
    """Whether a file is known not to be what its inputs make of it: its record no longer holds."""
    path = output.parent / RECORDS / f"{output.name}.json"
    return path.exists() and bool(_broken(path, fingerprint))


def _broken(path: Path, now: Callable[[Path], str]) -> list[Path]:
    """The outputs of a record that does not hold; ``now`` is the fingerprint of a file."""
    folder = path.parent.parent
    noted = _read(path)
    files = {**noted["inputs"], **noted["outputs"]}
    if all(now(Path(os.path.normpath(folder / name))) == known for name, known in files.items()):
        return []
    return [Path(os.path.normpath(folder / name)) for name in noted["outputs"]]


def settle_dates(results: Path, sources: Iterable[Path]) -> None:
    """Date files from the future (a clock was set back) to now: those under ``results``, and those
    ``sources`` that lie there.

    Snakemake fails jobs whose output is older than what they read. All get the same moment, so that
    none becomes older or newer than another of them. Raises UserError for a source of the user's.
    """
    now = time.time()
    for path in (*sources, *_files(results)):
        if _date(path) <= now:
            continue
        if path.is_relative_to(results):
            os.utime(path, (now, now))
        elif _date(path) > now + _APART_S:
            raise UserError(
                f"{path} is from the future ({time.ctime(_date(path))}): set the clock of this "
                "computer right, or give the file the date of now (touch)"
            )


def _date(path: Path) -> float:
    """When a file was last changed [s], 0 where there is none."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _files(results: Path) -> Iterator[Path]:
    """The files that rules may name: of the media of clips their indexes."""
    for folder, subfolders, names in _walk(results):
        yield from (Path(folder, name) for name in names)
        media = Path(folder).name == "clips_media"
        subfolders[:] = [name for name in subfolders if name != RECORDS and not media]


def _records(results: Path) -> Iterator[Path]:
    for folder, _, names in _walk(results):
        if Path(folder).name == RECORDS:
            yield from (Path(folder, name) for name in sorted(names) if name.endswith(".json"))


def _walk(results: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """As os.walk, in order. An experiment or tokenizer may have any name."""
    for folder, subfolders, names in os.walk(results):
        left_out = _NOT_WALKED if Path(folder) == results else ()
        subfolders[:] = sorted(name for name in subfolders if name not in left_out)
        yield folder, subfolders, names


def _read(path: Path) -> dict[str, Any]:
    """A record; one that cannot be read vouches for nothing: its output has another content."""
    try:
        noted = json.loads(path.read_text("utf-8"))
        return {side: dict(noted[side]) for side in ("outputs", "inputs")}
    except (ValueError, KeyError, TypeError):
        return {"outputs": {path.name.removesuffix(".json"): "unknown"}, "inputs": {}}
