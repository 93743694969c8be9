"""Why a candidate clip did not become tokens: a closed list, so that the funnel can be counted."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """What can go wrong with a clip, in the order in which the pipeline can notice it.

    The reasons of filters stand in their rows in filters.py, where the whole catalogue is.
    """

    description: str

    def __new__(cls, value: str, description: str) -> Reason:
        member = str.__new__(cls, value)
        member._value_, member.description = value, description
        return member

    # fetch: what the web, or a mirror of it, answers
    NOT_FETCHED_YET = "not_fetched_yet", "it was not asked for yet, or not answered so far"
    GONE = "gone", "the video is no longer to be had"
    RESTRICTED = "restricted", "the video needs an account, a payment or another country"
    FETCH_FAILED = "fetch_failed", "it could not be fetched, after several tries"
    NOT_IN_MIRROR = "not_in_mirror", "the mirror has no such clip"
    # media: the file itself
    MISSING_FILE = "missing_file", "the listed file does not exist"
    UNREADABLE = "unreadable", "the file could not be read this time"
    CHANGED = "changed", "the file was written while it was read"
    UNSAFE_PATH = "unsafe_path", "the listed path leaves the source folder"
    EMPTY_FILE = "empty_file", "the file has zero bytes"
    # decode: what the container and the codecs say
    NOT_MEDIA = "not_media", "no media container could be opened"
    NO_VIDEO = "no_video", "there is no video stream"
    NO_AUDIO = "no_audio", "there is no audio stream"
    TOO_LARGE = "too_large", "larger pictures, or more of them, than are decoded"
    TOO_SHORT = "too_short", "shorter than one audio window"
    TRUNCATED = "truncated", "clearly less decodes than the container promises"
    DECODE_ERROR = "decode_error", "a decoder failed"
    CRASHED = "crashed", "the decoder crashed"
    OUT_OF_MEMORY = "out_of_memory", "decoding needs more memory than allowed"
    OUT_OF_TIME = "out_of_time", "decoding needs more processor time than allowed"
    INTERRUPTED = "interrupted", "decoding was stopped, or came to no end in time"
    # split: a better copy of the same clip was kept
    DUPLICATE = "duplicate", "a copy of a clip that was kept"
    # label and tokenize: a model gave no usable output
    LABEL_FAILED = "label_failed", "a depth or normal map could not be made"
    TOKENIZE_FAILED = "tokenize_failed", "tokens could not be made"


#: Why a listed segment has no file: the web, or a mirror, has not given one.
NOT_FETCHED = frozenset(
    {Reason.NOT_FETCHED_YET, Reason.GONE, Reason.RESTRICTED, Reason.FETCH_FAILED,
     Reason.NOT_IN_MIRROR}
)  # fmt: skip
#: Failures that tell nothing about the file's bytes and may be gone next time. Their rows are
#: published but never kept.
PASSING = frozenset({Reason.MISSING_FILE, Reason.UNREADABLE, Reason.CHANGED, Reason.INTERRUPTED})
#: Failures of the bytes and of the limits that the config sets.
LIMITS = frozenset({Reason.OUT_OF_MEMORY, Reason.OUT_OF_TIME})
