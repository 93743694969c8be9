"""Publish a finished run: only what is not there yet is uploaded, so that a second try goes on."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from nano4m_audio.files import user_errors
from nano4m_audio.paths import Results
from nano4m_audio.progress import track
from nano4m_audio.publish.files import Upload, gather
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
    with (
        user_errors(results.root),
        tempfile.TemporaryDirectory(prefix=".publish-", dir=results.root) as staging,
    ):
        files = gather(results, Path(staging), what.frames, what.sound, what.clips)
        sent = target.missing(files)
        told = [(file.size, file.sha256) for file in sent]  # while they are there
        if not dry_run and sent:
            size = sum(size for size, _ in told) / 1e6
            print(f"uploading {len(sent):,} files, {size:,.1f} MB", file=sys.stderr)
            for _ in track(target.put(sent), len(sent), "publish [files]"):
                pass
    return Published(files, sent)
