"""Open a clip's file, and no other, and choose the video and the audio stream that decode."""

from __future__ import annotations

from typing import Any

from nano4m_audio.acquire.source import MediaError, Source
from nano4m_audio.reasons import Reason

#: Demuxers that may open a file. Playlists (HLS, concat) would make libav open other files.
_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,asf,mpeg,mpegts,ogg"
#: The largest picture that is decoded, 8K; its coded height is a multiple of 64 in some codecs.
MAX_WIDTH, MAX_HEIGHT = 8192, 4352
MAX_FRAME_PIXELS = MAX_WIDTH * MAX_HEIGHT
#: Starts of containers whose index is written last: unreadable means cut short, not foreign.
_CONTAINER_STARTS = ((4, b"ftyp"), (0, b"\x1a\x45\xdf\xa3"), (8, b"AVI "))
#: How much of a file with several streams of a kind is read to see which of them decode.
_PROBE_S, _PROBE_PACKETS = 10.0, 4000


def open_media(source: Source, *, decode: bool = True) -> Any:
    """Open the container; no other file or address can be reached through it.

    Without ``decode`` only what it declares is read, of pictures of any size. Raises MediaError
    when it is no container or one that was cut before its index.
    """
    import av

    options = {
        "format_whitelist": _FORMATS,
        "protocol_whitelist": "none",
    }
    if decode:
        options |= {"max_pixels": str(MAX_FRAME_PIXELS)}
    else:
        options |= {"probesize": "32", "analyzeduration": "0"}
    try:
        return av.open(source.reader(), options=options, metadata_errors="replace")
    except MemoryError:
        raise  # it is no property of the file: the caller knows the limit
    except (av.error.FFmpegError, ValueError) as error:
        head = source.read_at(0, 12)
        if any(head[at : at + len(magic)] == magic for at, magic in _CONTAINER_STARTS):
            message = "the container has a beginning but no readable index: the file was cut short"
            raise MediaError(Reason.TRUNCATED, message) from error
        raise MediaError(Reason.NOT_MEDIA, f"no media container: {say(error)}") from error


def say(error: BaseException) -> str:
    """The error without the file's path, so that the message does not depend on the machine."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def choose_streams(container: Any, source: Source) -> tuple[Any, Any]:
    """Return the video and the audio stream of a container: the first of each kind that decodes.

    Default streams come first, then the file's order. Where several could be it, a few seconds
    are decoded to ask them. Raises MediaError when there is none.
    """
    videos, audios = _video_streams(container, source), _audio_streams(container)
    several = [s for kind in (videos, audios) if len(kind) > 1 for s in kind]
    n_frames = _count_frames(source, several) if several else {}
    chosen = []
    for candidates in (videos, audios):
        # One picture alone may be a cover or a thumbnail; max() keeps the first of equals.
        stream = max(candidates, key=lambda s: min(2, n_frames.get(s.index, 0)))
        prepare(stream)
        chosen.append(stream)
    return chosen[0], chosen[1]


def prepare(stream: Any) -> None:
    """Decode in this thread, so that results and memory do not depend on the machine."""
    stream.codec_context.thread_count = 1
    stream.codec_context.options = {"max_pixels": str(MAX_FRAME_PIXELS)}


def _video_streams(container: Any, source: Source) -> list[Any]:
    from av.stream import Disposition

    videos = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    known = [s for s in videos if s.codec_context is not None]
    if not known:
        only = "a cover picture and no film" if container.streams.video else "no video stream"
        raise MediaError(Reason.NO_VIDEO, "unknown video codec" if videos else only)
    sizes = {s.index: (s.width, s.height) for s in known}
    if not all(map(all, sizes.values())):
        # libav has no size for pictures beyond the limit.
        sizes |= _declared_sizes(source)
    fitting = [s for s in known if sizes[s.index][0] * sizes[s.index][1] <= MAX_FRAME_PIXELS]
    if not fitting:
        width, height = sizes[known[0].index]
        limit = f"{MAX_WIDTH}x{MAX_HEIGHT} ({MAX_FRAME_PIXELS / 1e6:.1f} million)"
        message = f"pictures of {width}x{height} pixels; at most {limit} are decoded"
        raise MediaError(Reason.TOO_LARGE, message)
    return sorted(fitting, key=lambda s: not s.disposition & Disposition.default)


def _declared_sizes(source: Source) -> dict[int, tuple[int, int]]:
    """(width, height) of each video stream as the container has it, undecoded."""
    with open_media(source, decode=False) as container:
        return {s.index: (s.width, s.height) for s in container.streams.video}


def _audio_streams(container: Any) -> list[Any]:
    from av.stream import Disposition

    audios = list(container.streams.audio)
    known = [s for s in audios if s.codec_context is not None]
    if not known:
        raise MediaError(Reason.NO_AUDIO, "unknown audio codec" if audios else "no audio stream")
    best = container.streams.best("audio")
    return sorted(known, key=lambda s: (s != best, not s.disposition & Disposition.default))


def _count_frames(source: Source, streams: list[Any]) -> dict[int, int]:
    """How many frames each of ``streams`` gives in the first seconds of the file."""
    import av

    counts = {stream.index: 0 for stream in streams}
    with open_media(source) as container:
        probed = [container.streams[index] for index in counts]
        for stream in probed:
            prepare(stream)
        end_s = (container.start_time or 0) / 1e6 + _PROBE_S
        try:
            for n, packet in enumerate(container.demux(probed)):
                late = packet.dts is not None and float(packet.dts * packet.time_base) > end_s
                if late or n > _PROBE_PACKETS or min(counts.values()) > 1:
                    break
                if counts[packet.stream.index] < 2:
                    counts[packet.stream.index] += _n_decoded(packet)
        except MemoryError:
            raise
        except av.error.FFmpegError:
            pass  # the file ends here; what was counted so far is the answer
    return counts


def _n_decoded(packet: Any) -> int:
    """Frames that a packet gives; one that does not decode (or an empty one at the end) gives 0."""
    import av

    try:
        return len(packet.decode())
    except MemoryError:
        raise
    except av.error.FFmpegError:
        return 0
