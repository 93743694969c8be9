"""Publish a finished run: only what is not there yet is uploaded, so that a second try goes on."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nano4m_audio.files import leftovers, temp_path, user_errors
from nano4m_audio.paths import Results
from nano4m_audio.progress import track
from nano4m_audio.publish.files import MANIFEST, Upload, gather
from nano4m_audio.publish.targets import target_of


@dataclass(frozen=True)
class What:
    """What is published beside tokens, card and pages; see ``files.gather``."""

    frames: bool = False
    sound: bool = False
    clips: bool = True


@dataclass(frozen=True)
class Published:
    """All files, and those of them that were not there before."""

    files: list[Upload]
    sent: list[Upload]


def publish(
    results: Results, address: str, what: What = What(), public: bool = False, dry_run: bool = False
) -> Published:
    """Put the outputs of ``results`` at ``address``, the manifest last; with ``dry_run`` only look.

    Raises UserError in one line where address, credentials, network or results are not in order.
    """
    target = target_of(address, public)
    if not dry_run:
        target.prepare()  # before the dataset is written, which takes minutes for many clips
    with _staging(results) as staging:
        files = gather(results, staging, what.frames, what.sound, what.clips)
        sent = target.missing(files)
        if not dry_run and sent:
            size = sum(file.size for file in sent) / 1e6
            print(f"uploading {len(sent):,} files, {size:,.1f} MB", file=sys.stderr)
            # The manifest comes when all that it names is there.
            parts = [[f for f in sent if (f.name == MANIFEST) is last] for last in (False, True)]
            put = (file for part in parts for file in target.put(part))
            for _ in track(put, len(sent), "publish [files]"):
                pass
    return Published(files, sent)


@contextmanager
def _staging(results: Results) -> Iterator[Path]:
    """A folder for what is written in order to be uploaded; those of killed processes go."""
    place = results / "publish"
    with user_errors(results.root):
        for old in leftovers(results.root, place.name):
            shutil.rmtree(old, ignore_errors=True)
        staging = temp_path(place)
        try:
            staging.mkdir()
            yield staging
        finally:
            shutil.rmtree(staging, ignore_errors=True)
