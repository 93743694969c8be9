"""Why a candidate clip did not become tokens: a closed list, so that the funnel can be counted."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """One value per cause. The order is the order in which the pipeline can notice them."""

    # media: the file itself
    MISSING_FILE = "missing_file"
    UNREADABLE = "unreadable"
    CHANGED = "changed"
    UNSAFE_PATH = "unsafe_path"
    EMPTY_FILE = "empty_file"
    # decode: what the container and the codecs say
    NOT_MEDIA = "not_media"
    NO_VIDEO = "no_video"
    NO_AUDIO = "no_audio"
    TOO_LARGE = "too_large"
    TOO_SHORT = "too_short"
    TRUNCATED = "truncated"
    DECODE_ERROR = "decode_error"
    CRASHED = "crashed"
    OUT_OF_MEMORY = "out_of_memory"
    OUT_OF_TIME = "out_of_time"
    INTERRUPTED = "interrupted"
    # verdict: thresholds on scores
    SILENT = "silent"
    AUDIO_LOW = "audio_low"
    VISUAL_LOW = "visual_low"
    SPEECH = "speech"
    # split: a better copy of the same clip was kept
    DUPLICATE = "duplicate"
    # label and tokenize: a model gave no usable output
    LABEL_FAILED = "label_failed"
    TOKENIZE_FAILED = "tokenize_failed"


#: Failures that tell nothing about the file's bytes and may be gone next time. Their rows are
#: published but never kept.
PASSING = frozenset({Reason.MISSING_FILE, Reason.UNREADABLE, Reason.CHANGED, Reason.INTERRUPTED})
#: Failures of the bytes and of the limits that the config sets.
LIMITS = frozenset({Reason.OUT_OF_MEMORY, Reason.OUT_OF_TIME})

DESCRIPTIONS: dict[Reason, str] = {
    Reason.MISSING_FILE: "the listed file does not exist",
    Reason.UNREADABLE: "the file could not be read this time",
    Reason.CHANGED: "the file was written while it was read",
    Reason.UNSAFE_PATH: "the listed path leaves the source folder",
    Reason.EMPTY_FILE: "the file has zero bytes",
    Reason.NOT_MEDIA: "no media container could be opened",
    Reason.NO_VIDEO: "there is no video stream",
    Reason.NO_AUDIO: "there is no audio stream",
    Reason.TOO_LARGE: "larger pictures, or more of them, than are decoded",
    Reason.TOO_SHORT: "shorter than one audio window",
    Reason.TRUNCATED: "clearly less decodes than the container promises",
    Reason.DECODE_ERROR: "a decoder failed",
    Reason.CRASHED: "the decoder crashed",
    Reason.OUT_OF_MEMORY: "decoding needs more memory than allowed",
    Reason.OUT_OF_TIME: "decoding needs more processor time than allowed",
    Reason.INTERRUPTED: "decoding was stopped, or came to no end in time",
    Reason.SILENT: "the loudest second is below the level threshold",
    Reason.AUDIO_LOW: "no window sounds enough like the class",
    Reason.VISUAL_LOW: "no frame looks enough like the class",
    Reason.SPEECH: "too much human speech",
    Reason.DUPLICATE: "a copy of a clip that was kept",
    Reason.LABEL_FAILED: "a depth or normal map could not be made",
    Reason.TOKENIZE_FAILED: "tokens could not be made",
}
