"""Classes: what each is called in captions, prompts and the lists of AudioSet, VGGSound, ImageNet.

A class of the user's own needs a name and nothing else. ``read_classes`` is the one place where
names are checked and what is absent gets its default.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, field_validator

from nano4m_audio.backends import audioset
from nano4m_audio.config.plain import read_yaml
from nano4m_audio.errors import UserError, did_you_mean, shown
from nano4m_audio.files import data_yaml
from nano4m_audio.section import Section

FROM_FOLDER = "from_folder"
MAX_NAME = 60
_PUNCTUATION = " _-',.()&+"
_SHOWN = 20
_FORMS = (
    "a list of names, a mapping of names to details (frog: {}), {file: my_classes.yaml}, "
    f"or {FROM_FOLDER}"
)
_VGGSOUND_HEAD = """\
# On top of paper.yaml: the 309 labels of VGGSound as classes. AudioSet labels stand where the names
# agree; the filter by sound is off for the other classes, and the report says so.
#   snakemake -n --directory my_web_clips --configfile configs/paper.yaml configs/vggsound_full.yaml
# Written by:
#   nano4m-audio classes vggsound --out configs/vggsound_full.yaml
classes:
"""
Line = Annotated[str, Field(min_length=1, max_length=100)]


class SoundClass(Section):
    """A class of clips: every detail may be absent."""

    caption: Line = Field("", description="caption of its clips; absent: its name")
    prompts: tuple[Line, ...] = Field(
        (), description="texts, one of which a frame shall resemble; absent: a photo of a NAME"
    )
    negatives: tuple[Line, ...] = Field(
        (), description="what it is mistaken for: a frame loses what it is nearer to one of these"
    )
    audioset: tuple[str, ...] = Field(
        (), description="AudioSet labels of its sound, names or ids; absent: the one of its name"
    )
    audioset_ambiguous: tuple[str, ...] | None = Field(
        None,
        description="AudioSet labels that may also mean something else: lists are asked for them "
        "with labels: all; absent: kinds of its sounds that are kinds of other sounds, too",
    )
    vggsound: tuple[str, ...] = Field(
        (), description="VGGSound labels that mean it; absent: the one of its name"
    )
    vggsound_ambiguous: tuple[str, ...] = Field(
        (), description="VGGSound labels that are of use with labels: all"
    )
    imagenet: tuple[Annotated[int, Field(ge=0, le=999)], ...] = Field(
        (), description="its ImageNet-1k numbers; ranges such as 151-268 are inclusive"
    )

    @field_validator(
        *("prompts", "negatives", "audioset", "audioset_ambiguous"),
        *("vggsound", "vggsound_ambiguous"),
        mode="before",
    )
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("caption", "prompts", "negatives")
    @classmethod
    def _printable(cls, value: Any) -> Any:
        for text in (value,) if isinstance(value, str) else value:
            if not text.isprintable() or not text.strip():
                raise ValueError(f"{shown(text)}: one line of printable text")
        return value

    @field_validator("audioset", "audioset_ambiguous")
    @classmethod
    def _audioset_names(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        try:
            return value and tuple(dict.fromkeys(map(audioset.label_name, value)))
        except UserError as error:
            raise ValueError(str(error)) from None

    @field_validator("vggsound", "vggsound_ambiguous")
    @classmethod
    def _vggsound_labels(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        known = vggsound_labels()
        for label in value:
            if label not in known:
                hint = did_you_mean(label, known)
                raise ValueError(f"unknown VGGSound label {shown(label)}{hint}: one of its 309")
        return value

    @field_validator("imagenet", mode="before")
    @classmethod
    def _ranges(cls, value: Any) -> Any:
        """Expand ``(7, "151-153")`` to ``(7, 151, 152, 153)``."""
        if not isinstance(value, tuple):
            return value
        out: list[Any] = []
        for entry in value:
            first, _, last = entry.partition("-") if isinstance(entry, str) else ("", "", "")
            known = first.isdecimal() and last.isdecimal() and int(last) < 1000
            out.extend(range(int(first), int(last) + 1) if known else [entry])
        return tuple(out)


@cache
def vggsound_labels() -> tuple[str, ...]:
    """The 309 labels of VGGSound, sorted."""
    text = resources.files(__package__).joinpath("vggsound_labels.txt").read_text("utf-8")
    return tuple(text.splitlines())


def vggsound_config() -> str:
    """The text of a config file with all labels of VGGSound as classes."""
    lines = []
    for label in vggsound_labels():
        own = next((c for c in known_classes().values() if label in c.vggsound), None)
        played = label.removeprefix("playing ")
        found = audioset.names().get(label) or audioset.names().get(played)
        details: dict[str, Any] = {}
        if own or found:
            details["audioset"] = list(own.audioset) if own else [found]
        if played != label:
            details["prompts"] = [f"a photo of someone {label}"]
        text = yaml.safe_dump({label: details}, default_flow_style=True, width=10_000)
        lines.append(f"  {text.strip()[1:-1]}\n")
    return _VGGSOUND_HEAD + "".join(lines)


@cache
def _eleven() -> dict[str, dict[str, Any]]:
    text = resources.files(__package__).joinpath("taxonomy.yaml").read_text("utf-8")
    return data_yaml(text)


def class_names() -> tuple[str, ...]:
    """The names of the eleven classes that need no details: pig, sheep, dog, ..."""
    return tuple(_eleven())


@cache
def known_classes() -> dict[str, SoundClass]:
    """The eleven classes by name, in the order of taxonomy.yaml."""
    return classes_named(_eleven())


def classes_named(names: Iterable[str]) -> dict[str, SoundClass]:
    """Classes of which only the names are given. Raises ValueError for names that are none."""
    read = read_classes(dict.fromkeys(names))
    return {name: SoundClass.model_validate(details) for name, details in read.items()}


def read_classes(value: Any) -> dict[str, Any]:
    """``classes:`` of a config, in any of its forms, as name -> details with their defaults.

    Empty for ``from_folder``: the classes are those of the folder. What is no mapping of details is
    left for the schema to refuse. Raises ValueError, in one line, for names that cannot be used.
    """
    if value == FROM_FOLDER or value == {}:
        return {}
    out: dict[str, Any] = {}
    for text, details in _pairs(value):
        name = class_name(text)
        if name in out:
            raise ValueError(f"one or more different class names: {name!r} is there twice")
        out[name] = _completed(name, details)
    if not out:
        raise ValueError(f"one or more different class names: {_FORMS}")
    return out


def _pairs(value: Any) -> Iterator[tuple[str, Any]]:
    """Names and details, in order; None for the details of a name that stands alone."""
    if isinstance(value, Mapping):
        for name, details in value.items():
            if name == "file" and isinstance(details, str):
                yield from _file(details).items()
            else:
                yield name, details
    elif isinstance(value, list | tuple):
        for entry in value:
            if isinstance(entry, Mapping):
                yield from _pairs(entry)
            elif isinstance(entry, str) and normal(entry) in _eleven():
                yield entry, None
            else:
                raise ValueError(unknown_class(str(entry), class_names()))
    else:
        raise ValueError(_FORMS)


def _file(path: str) -> dict[str, Any]:
    try:
        return read_yaml(path, lambda path: yaml.safe_load(Path(path).read_text("utf-8")))
    except UserError as error:
        raise ValueError(f"file: {error}") from None


def _completed(name: str, details: Any) -> Any:
    """Details with defaults for what is absent: what is known of that name, or follows from it."""
    details = {} if details is None else details
    if not isinstance(details, Mapping):
        return details
    low = name.casefold()
    defaults = {
        "caption": name,
        "prompts": [f"a photo of a {name}"],
        "audioset": [audioset.names()[low]] if low in audioset.names() else [],
        "vggsound": [low] if low in vggsound_labels() else [],
    }
    return {**defaults, **_eleven().get(name, {}), **details}


def normal(name: str) -> str:
    """``name`` in the Unicode form in which names are compared."""
    return unicodedata.normalize("NFC", name)


def class_name(text: str) -> str:
    """The name of a class in Unicode form NFC.

    Raises ValueError for what is no name: names stand in captions, folders, tables and pages.
    """
    name = normal(text)
    fits = len(name) <= MAX_NAME and name[:1].isalnum() and " ".join(name.split()) == name
    letters = all(c in _PUNCTUATION or unicodedata.category(c)[0] in "LMN" for c in name)
    if not (fits and letters):
        raise ValueError(
            f"{shown(text)} is no name of a class: at most {MAX_NAME} letters, digits, single "
            f"spaces and {_PUNCTUATION.strip()}, the first a letter or digit"
        )
    return name


@cache
def unknown_class(name: str, known: tuple[str, ...]) -> str:
    """What to say of a class that is not among the known ones: which are, and how to add it."""
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    own = name
    try:
        class_name(name)
    except ValueError:
        own = "NAME"
    return (
        f"unknown class {shown(name)}{did_you_mean(name, known)} "
        f"(known: {', '.join(known[:_SHOWN])}{more}; to add it, write `{own}: {{}}` beside these "
        f"under classes, or classes: {FROM_FOLDER})"
    )
