"""What an answer without a video means: the table faults.yaml, and how answers are looked up."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal

import yaml

from nano4m_audio.fetch.answers import FetchError
from nano4m_audio.reasons import Reason

Kind = Literal["permanent", "long", "transient", "address", "config"]
#: Kinds that say nothing of the video: it was as good as not asked for.
NOT_THE_VIDEO: frozenset[str] = frozenset({"address", "config"})
RAW_CHARS = 300
#: So much of an answer is looked at.
_READ_CHARS = 10_000
#: No server is believed that wants more patience than this.
MAX_WAIT_S = 30 * 24 * 3600.0

_COLOURS = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?")
_PLAIN = str.maketrans({**dict.fromkeys("‘’ʼ‛′`´", "'"), **dict.fromkeys("“”„", '"'),
                        **dict.fromkeys("‐‑‒–—", "-")})  # fmt: skip
_PREFIX = re.compile(r"^(?:(?:error|warning): *|\[[\w:.+-]{1,60}\] *(?:[\w-]{1,64}: +)?)+", re.I)
_HTTP = re.compile(r"http error (\d{3})\b")
_MEDIA = "unable to download video data"
_UNTIL = re.compile(r"\b(?:in|begin in) (\d{1,4}|an?) (minute|hour|day|week|month)s?\b")
_UNIT_S = {"minute": 60, "hour": 3600, "day": 86400, "week": 604800, "month": 2592000}
#: What a text may not show: addresses beyond the host, names with secrets, lines of cookies.
_SECRETS = (
    (re.compile(r"\b([a-z][a-z0-9+.-]{0,20}://)(?:[^\s/?#'\"<>]*@)?([^\s/?#'\"<>]*)"
                r"[^\s'\"<>]*", re.I), r"\1\2/..."),
    (re.compile(r"(cookie file entry[^:]{0,80}: ).*", re.I), r"\1..."),
    (re.compile(r"\b((?:proxy-)?authorization|(?:set-)?cookie2?)(['\"]?\s*[:=]).*", re.I),
     r"\1\2 ..."),
    (re.compile(r"\b(bearer|basic|sapisid\w*hash)\s+\S+", re.I), r"\1 ..."),
    (re.compile(r"(?<![a-z])(ip|expire|[\w-]*(?:sig|signature|token|pot|key|password|passwd|secret|"
                r"auth|sid|sidts|sidcc|session|login_info|visitor_?data|visitor_info1_live))"
                r"(['\"]?\s*[=:/]\s*['\"]?)[^\s&;,'\"]{4,}", re.I), r"\1\2..."),
    (re.compile(r"\?[^\s=]*\s?=\s?\S*"), "?..."),
)  # fmt: skip


@dataclass(frozen=True)
class Name:
    """What all faults of one name have in common."""

    name: str
    reason: Reason
    advice: str
    tries: int = 5
    wait_s: float | None = None
    stops: bool = True
    afresh: bool = False


@dataclass(frozen=True)
class Row:
    """One row of the table: when it matches, and what it says then."""

    row: str
    name: str
    kind: Kind
    texts: tuple[str, ...] = ()
    status: tuple[int, ...] = ()
    range: bool = False
    place: str = ""
    warning: bool = False
    own: bool = False
    vague: bool = False
    advice: str = ""
    wait_s: float | None = None

    def has_status(self, status: int, place: str) -> bool:
        among = self.status[0] <= status <= self.status[-1] if self.range else status in self.status
        return among and self.place in ("", place)

    def is_in(self, text: str) -> bool:
        """Whether one of its texts stands in a normalised text, as whole words."""
        return any(_words(wanted).search(text) for wanted in self.texts)


@dataclass(frozen=True)
class Table:
    """faults.yaml: the date and the yt-dlp that it was checked with, names, rows in order."""

    checked: str
    yt_dlp: str
    names: dict[str, Name]
    statuses: tuple[Row, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Fault:
    """What an answer means.

    ``retry_after_s`` is what the answer says, or else the table; None: by the number of tries.
    ``raw`` is the text without secrets.
    """

    name: str
    kind: Kind
    advice: str
    retry_after_s: float | None
    raw: str

    @property
    def stops(self) -> bool:
        """Whether the run ends at once, with the advice."""
        return self.kind == "config" and named(self.name).stops

    @property
    def afresh(self) -> bool:
        """Whether the address of the media shall be asked for again, once, before this counts."""
        return named(self.name).afresh

    @property
    def about_the_video(self) -> bool:
        return self.kind not in NOT_THE_VIDEO


@cache
def table() -> Table:
    """The table as it is in the package."""
    text = resources.files("nano4m_audio.fetch").joinpath("faults.yaml").read_text("utf-8")
    plain = yaml.safe_load(text)
    names = {
        name: Name(name, **(values | {"reason": Reason[values["reason"].upper()]}))
        for name, values in plain["names"].items()
    }
    statuses, rows = _rows(plain["statuses"]), _rows(plain["rows"])
    return Table(str(plain["checked"]), str(plain["yt_dlp"]), names, statuses, rows)


def _rows(section: list[dict[str, Any]]) -> tuple[Row, ...]:
    rows = []
    for plain in section:
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in plain.items()
        }
        rows.append(Row(**(values | {"row": str(values["row"])})))
    return tuple(rows)


def named(name: str) -> Name:
    """What is known of a name; of one that another version wrote, as of ``unknown``."""
    names = table().names
    return names.get(name, names["unknown"])


def classify(error: FetchError) -> Fault:
    """What the answer means: HTTP status before texts, first match wins, else ``unknown``."""
    text = normalise(error.text)
    row = _of_status(error, text) or _of_text(text, error.warnings)
    if row is None:
        row = Row("43", "unknown", "transient")
    name = named(row.name)
    wait_s = waiting(error.retry_after_s)
    if wait_s is None and row.name == "not_yet":
        wait_s = _until(text)
    if wait_s is None:
        wait_s = name.wait_s if row.wait_s is None else row.wait_s
    return Fault(row.name, row.kind, row.advice or name.advice, wait_s, cleaned(error.text))


def _of_status(error: FetchError, text: str) -> Row | None:
    quoted = _HTTP.search(text)
    status = error.status or (int(quoted[1]) if quoted else None)
    if status is None:
        return None
    place = "media" if _MEDIA in text else error.place
    return next((row for row in table().statuses if row.has_status(status, place)), None)


def _of_text(text: str, warnings: Iterable[str]) -> Row | None:
    said = [normalise(warning) for warning in warnings]
    for row in table().rows:
        if row.is_in(text) or (row.warning and any(map(row.is_in, said))):
            return (_of_requests(said) or row) if row.vague else row
    return None


def _of_requests(warnings: Iterable[str]) -> Row | None:
    """What a request that failed before says of this address, or the network."""
    for text in warnings:
        if text.startswith("unable to download"):
            row = _of_status(FetchError(text), text) or _of_text(text, ())
            if row and row.kind in ("address", "transient"):
                return row
    return None


@cache
def _words(text: str) -> re.Pattern[str]:
    before, after = (r"\b" if char.isalnum() else "" for char in (text[0], text[-1]))
    return re.compile(before + re.escape(text) + after)


def normalise(text: str) -> str:
    """The text in one line and lower case, with plain quotes, without colours and prefixes."""
    return _PREFIX.sub("", _one_line(text[:_READ_CHARS]).translate(_PLAIN)).strip().casefold()


def cleaned(text: str, length: int = RAW_CHARS) -> str:
    """The first characters of a text in one line, without controls and secrets."""
    plain = _one_line(text[:_READ_CHARS])
    for pattern, instead in _SECRETS:
        plain = pattern.sub(instead, plain)
    return plain[:length].strip()


def _one_line(text: str) -> str:
    plain = unicodedata.normalize("NFKC", _COLOURS.sub("", text))
    blank: dict[str, str | int | None] = {}
    for char in set(plain):
        if (kind := unicodedata.category(char)[0]) in "CZ":
            blank[char] = " " if kind == "Z" or char.isspace() else ""
    return " ".join(plain.translate(str.maketrans(blank)).split())


def waiting(seconds: float | None) -> float | None:
    """A time to wait that can be believed [s]; None for none."""
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return None
    return min(float(seconds), MAX_WAIT_S)


def _until(text: str) -> float | None:
    """How long something is still to come [s], where the text says so."""
    found = _UNTIL.search(text)
    if not found:
        return None
    count = 1 if found[1].startswith("a") else int(found[1])
    return waiting(float(count * _UNIT_S[found[2]]))
