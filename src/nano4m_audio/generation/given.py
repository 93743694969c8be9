"""What a generation starts from: tokens of clips of a results folder, and files and text of a user.

A user's sound and picture become what the pipeline would make of them: the same mono mix, rates and
crop, and the run's own tokenizers.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from nano4m_audio.acquire.child import Child, Died, Limits
from nano4m_audio.acquire.sound import SoundTrack
from nano4m_audio.acquire.source import MediaError, Source, clean_message, opened
from nano4m_audio.errors import UserError, did_you_mean
from nano4m_audio.media import windows
from nano4m_audio.media.crop import square_crop
from nano4m_audio.media.stored import encode_flac, read_audio
from nano4m_audio.modalities import MODALITIES, WINDOW_S
from nano4m_audio.nano4m.generate import NOTHING
from nano4m_audio.nano4m.settings import Modality
from nano4m_audio.paths import Results
from nano4m_audio.tables import read_batches
from nano4m_audio.tokenize.interleave import interleave
from nano4m_audio.tokenize.keyframes import rgb_image

if TYPE_CHECKING:
    from nano4m_audio.backends.protocols import AudioTokenizer, ImageTokenizer, TextTokenizer

#: Containers of sound beside those of clips; playlists would make libav open other files.
_SOUND_FORMATS = "wav,w64,flac,mp3,aac,aiff,ogg,mov,mp4,m4a,matroska,webm"
_LIMITS = Limits(memory_mb=2000, cpu_s=300, wall_s=900)
_PICTURES = ("PNG", "JPEG", "WEBP")


def clip_ids(
    results: Results, clips: Sequence[str], modality: Modality, keyframe: int
) -> np.ndarray:
    """The tokens of one modality of some clips: int64 [clips, max_tokens], NOTHING after the last.

    ``keyframe`` chooses among those of a picture. Raises UserError for a clip without such tokens,
    or with ids that the model does not know.
    """
    name, found, known = modality.name, dict[str, np.ndarray](), list[str]()
    wanted = set(clips)
    for path in results.tables(f"tokens/{name}"):
        for batch in read_batches(path, f"tokens/{name}", ["clip_id", "status", "tokens"]):
            here = batch["clip_id"].to_pylist()
            known += here
            for i in [i for i, clip in enumerate(here) if clip in wanted]:
                if batch["status"][i].as_py() != "ok":
                    raise UserError(f"{path}: clip {here[i]!r} has no {name} tokens: it failed")
                rows = batch["tokens"][i].as_py()
                is_text = MODALITIES[name].kind == "text"
                row = rows if is_text else rows[min(keyframe, len(rows) - 1)]
                found[here[i]] = np.array(row, np.int64)
    for clip in clips:
        if clip not in found:
            hint = did_you_mean(clip, known)
            raise UserError(f"{results}: there is no clip {clip!r} with {name} tokens{hint}")
    return np.stack([fitted(found[clip], modality, f"clip {clip!r}") for clip in clips])


def fitted(ids: np.ndarray, modality: Modality, where: str) -> np.ndarray:
    """A sequence of ids as int64 [max_tokens], NOTHING after its end. A longer one is cut, as in
    training. Raises UserError for ids that the model does not know."""
    if len(ids) and not (ids.min() >= 0 and ids.max() < modality.vocab_size):
        raise UserError(
            f"{where}: {modality.name} has id {ids.max()}, and the model only "
            f"{modality.vocab_size} ids: it was trained with another tokenizer"
        )
    out = np.full(modality.max_tokens, NOTHING, np.int64)
    out[: len(ids)] = ids[: modality.max_tokens]
    return out


def kept(ids: np.ndarray, modality: Modality, share: float) -> np.ndarray:
    """The first ``share`` of the tokens of each row of ``ids`` [n, max_tokens], in whole frames of
    the codec; NOTHING in place of the others. Of a picture these are its upper rows."""
    stride = modality.span_stride or 1
    counts = (share * (ids != NOTHING).sum(axis=1) / stride + 1e-9).astype(int) * stride
    return np.where(np.arange(ids.shape[1]) < counts[:, None], ids, NOTHING)


def sound_ids(path: Path, tokenizer: AudioTokenizer, start_s: float = 0.0) -> np.ndarray:
    """The ids of the window of a sound file that starts at ``start_s``: int64 [n]."""
    waveform = windows.cut(read_sound(path, start_s), 0.0)[None]
    waveform = windows.resample(waveform, tokenizer.sample_rate_hz)
    samples = windows.window_samples(tokenizer.sample_rate_hz)
    codes = tokenizer.encode(windows.fit_length(waveform, samples))
    return interleave(codes, tokenizer.codebook_size)[0].astype(np.int64)


def picture_ids(path: Path, tokenizer: ImageTokenizer) -> np.ndarray:
    """The ids of the centre square of a picture: int64 [n]."""
    crop = square_crop(read_picture(path))
    return np.asarray(tokenizer.tokenize(rgb_image(crop[None])))[0].astype(np.int64)


def text_ids(text: str, tokenizer: TextTokenizer) -> np.ndarray:
    """The ids of a caption: int64 [n]. Raises UserError for one without letters."""
    if not text.strip() or not text.isprintable():
        raise UserError(f"caption {text!r}: one line of text is needed")
    return np.array(tokenizer.encode(text), np.int64)


def read_sound(path: Path, start_s: float = 0.0) -> np.ndarray:
    """A sound file from ``start_s`` on, as much as a window has, mixed to mono and stored as the
    pipeline does: float32 [n] at 32 kHz. Raises UserError for a file that is no sound, or ends
    before."""
    with Child(decode_sound, _LIMITS) as decode:
        try:
            found = decode(path, start_s)
        except Died as death:
            found = death.message
    if isinstance(found, str):
        raise UserError(f"{path}: no sound that can be read ({clean_message(found)})")
    return found


def decode_sound(path: Path, start_s: float) -> np.ndarray | str:
    """What ``read_sound`` does, in a process of its own; why not, for a file that is no sound."""
    import av

    try:
        with opened(path) as source:
            track = _track(source, start_s + WINDOW_S)
        rate_hz = windows.SAMPLE_RATE_HZ
        end_s = max((run.end_s for run in track.runs), default=0.0)
        if end_s <= 0:
            return "it has no sound"
        first = round(start_s * rate_hz)
        samples = track.render(round(min(end_s, start_s + WINDOW_S) * rate_hz), rate_hz)[first:]
        if not len(samples):
            return f"it has {end_s:.1f} s of sound, so no window starts at {start_s:g} s"
        return read_audio(encode_flac(samples, rate_hz))
    except (MediaError, av.error.FFmpegError, ValueError, ArithmeticError, KeyError) as error:
        return getattr(error, "strerror", None) or str(error)


def _track(source: Source, most_s: float) -> SoundTrack:
    """The decoded beginning of the first stream of sound, a little more than ``most_s``. Raises
    what libav raises."""
    import av

    options = {"format_whitelist": _SOUND_FORMATS, "protocol_whitelist": "none"}
    track, reader = SoundTrack(), cast("Any", source.reader())
    with av.open(reader, options=options, metadata_errors="replace") as container:
        if not container.streams.audio:
            raise ValueError("no audio stream")
        stream = container.streams.audio[0]
        stream.codec_context.thread_count = 1
        origin_s = (container.start_time or 0) / 1e6
        frame: Any
        for frame in container.decode(stream):
            stamp = frame.dts if frame.pts is None else frame.pts
            time_s = track.decoded_s
            if stamp is not None and frame.time_base is not None:
                time_s = float(stamp * frame.time_base) - origin_s
            if track.decoded_s > most_s + 1:
                break
            track.feed(frame, time_s)
    return track


def read_picture(path: Path) -> np.ndarray:
    """A PNG, JPEG or WebP as it is shown: uint8 [H, W, 3]. What is transparent becomes white.
    Raises UserError for a file that is none of them."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    bombs = Image.DecompressionBombError, Image.DecompressionBombWarning
    try:
        with opened(path) as source, warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(cast("Any", source.reader()), formats=_PICTURES)
            if image.mode.startswith(("I", "F")):
                raise UserError(f"{path}: a picture of 8 bits per channel is needed")
            upright = ImageOps.exif_transpose(image).convert("RGBA")
    except MediaError as error:
        raise UserError(f"{path}: {error}") from None
    except UnidentifiedImageError:
        raise UserError(f"{path}: none of {', '.join(_PICTURES)}") from None
    except (OSError, ValueError, SyntaxError, *bombs) as error:
        raise UserError(f"{path}: no readable picture ({clean_message(str(error))})") from None
    white = Image.new("RGBA", upright.size, "white")
    return np.array(Image.alpha_composite(white, upright).convert("RGB"))
