"""The length that a container declares, and whether as much was decoded."""

from __future__ import annotations

from typing import Any

from nano4m_audio.acquire.source import MediaError, Source
from nano4m_audio.reasons import Reason

#: A clip that decodes to less than this share of what its container promises is not used.
ENOUGH = 0.8
#: Formats that write the length of each stream; others give every stream that of the file.
_STREAM_LENGTHS = {"mov", "mp4", "avi", "ogg", "flv"}
#: Formats that write no length: libav estimates it from the stamps, cut or not.
_NO_LENGTH = {"mpeg", "mpegts"}
_SEGMENT_ID = 0x18538067


def is_matroska(container: Any) -> bool:
    return "matroska" in container.format.name


def stream_promise_s(container: Any, stream: Any, origin_s: float) -> float | None:
    """When a stream ends according to the container, in seconds after ``origin_s``."""
    if is_matroska(container):
        return _tagged_s(stream, origin_s)
    if not stream.duration or not _STREAM_LENGTHS & set(container.format.name.split(",")):
        return None
    return float(((stream.start_time or 0) + stream.duration) * stream.time_base) - origin_s


def container_promise_s(container: Any, origin_s: float) -> float | None:
    """How long the container says that it lasts as a whole, in seconds."""
    return None if container.format.name in _NO_LENGTH else said_s(container, origin_s)


def said_s(container: Any, origin_s: float) -> float | None:
    """The container's length in seconds, as it is written or as libav estimates it."""
    length_s = (container.duration or 0) / 1e6
    # Matroska has the time of the end, the others the length.
    length_s -= max(0.0, origin_s) if is_matroska(container) else 0.0
    return length_s if length_s > 0 else None


def _tagged_s(stream: Any, origin_s: float) -> float | None:
    """Matroska knows the end of one stream only from the statistics in its tags."""
    text = next((v for k, v in stream.metadata.items() if k.startswith("DURATION")), "")
    try:
        hours, minutes, seconds = text.split(":")
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds) - max(0.0, origin_s)
    except ValueError:
        return None


def data_missing(container: Any, source: Source, last_byte: int) -> bool:
    """Is a part of a Matroska file missing, where its packets end at ``last_byte``?

    Its header's duration is no promise of picture and sound (a late subtitle counts, some writers
    leave nonsense), so only a file that lacks data is compared with it.
    """
    size = source.size_bytes
    segment_end = _segment_end(source.read_at(0, 4096))
    end = min(size, segment_end or size)
    return bool(segment_end and segment_end > size) or last_byte < ENOUGH * end


def _segment_end(head: bytes) -> int | None:
    """Where the Matroska segment ends by its own size, None when it leaves that open."""
    at = 0
    while at + 12 <= len(head):
        id_bytes = 9 - head[at].bit_length()
        element = int.from_bytes(head[at : at + id_bytes], "big")
        at += id_bytes
        size_bytes = 9 - head[at].bit_length()
        bits = 7 * size_bytes
        size = int.from_bytes(head[at : at + size_bytes], "big") & ((1 << bits) - 1)
        at += size_bytes
        if element == _SEGMENT_ID:
            return None if size == (1 << bits) - 1 else at + size
        at += size
    return None


def check_complete(progress: Any, kind: str, promised_s: float | None) -> None:
    """Raise MediaError when far less of a stream came than promised, or much does not decode.

    One frame may be missing: writers disagree on whether the last one counts.
    """
    decoded_s = progress.decoded_end_s
    wanted_s = ENOUGH * (promised_s or 0.0) - progress.step_s
    if promised_s and progress.packets_end_s < wanted_s:
        message = f"the {kind} ends at {decoded_s:.2f} s of the promised {promised_s:.2f} s"
        raise MediaError(Reason.TRUNCATED, message)
    failed = f"{progress.n_failed} of {progress.n_packets} packets of the {kind} do not decode"
    if promised_s and decoded_s < wanted_s:
        message = f"the {kind} decodes to {decoded_s:.2f} s of {promised_s:.2f} s; {failed}"
        raise MediaError(Reason.DECODE_ERROR, message)
    if progress.n_failed > (1 - ENOUGH) * progress.n_packets:
        raise MediaError(Reason.DECODE_ERROR, failed)
