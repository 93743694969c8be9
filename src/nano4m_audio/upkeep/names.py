"""What of the store is named: by a published table, run, evaluation or page of a results folder.

Everything else in the store was made for parameters, clips or code of earlier runs. Where a file
that would name something is not there or cannot be read (a run was interrupted, a stage has not run
yet), nothing of its kind is known to be unnamed: the whole kind is kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from nano4m_audio.backends.registry import TRAINED
from nano4m_audio.errors import UserError
from nano4m_audio.modalities import IMAGES
from nano4m_audio.paths import Results
from nano4m_audio.probes import PROBES
from nano4m_audio.settings_files import last_settings
from nano4m_audio.tables import SCHEMAS, read_any

#: Artifacts whose rows lie in the store, with the columns of published tables that name them.
ROWS: dict[str, tuple[tuple[str, str], ...]] = {
    name: (
        (name, "key"),
        *((("verdicts", "clip_key"), ("selected", "clip_key")) * (name == "clips")),
    )
    for name in SCHEMAS
    if "key" in SCHEMAS[name].names and name != "media"
}
#: Folders of the store that hold one folder, or one JSON file, for every key.
FOLDERS = ("train", "tokenizers", "generated", "packed")
FILES = ("evaluate", "quality", "examples")
TRAIN, EVALUATE, GENERATED, QUALITY = "train", "evaluate", "generated", "quality"
TOKENIZERS, PACKED, EXAMPLES = "tokenizers", "packed", "examples"


@dataclass(frozen=True)
class Named:
    """The keys that are named, by artifact or folder of the store, and why others are not known."""

    keys: Mapping[str, frozenset[str]]
    unknown: Mapping[str, str] = field(default_factory=dict)


def named_rows(results: Results, name: str) -> frozenset[str]:
    """The keys of an artifact that published tables name. Raises UserError for a missing or damaged
    table."""
    keys: set[str] = set()
    for table, column in ROWS[name]:
        for path in results.tables(table):
            keys.update(read_any(path, [column])[column].to_pylist())
    return frozenset(keys - {"", None})


def find_named(results: Results) -> Named:
    """All keys that are named now. Raises UserError for a folder without tables."""
    results.tables("candidates")  # says what is wrong with a folder that has none
    readers: dict[str, Callable[[], Iterable[str]]] = {
        **{name: partial(named_rows, results, name) for name in ROWS},
        TRAIN: lambda: _train(results),
        TOKENIZERS: lambda: _tokenizers(results),
        EVALUATE: lambda: _evaluations(results),
        GENERATED: lambda: _generated(results),
        QUALITY: lambda: _quality(results),
        PACKED: lambda: _packed(results),
        EXAMPLES: lambda: _examples(results),
    }
    keys: dict[str, frozenset[str]] = {}
    unknown: dict[str, str] = {}
    for name, read in readers.items():
        if not (results.store / name).is_dir():
            continue
        try:
            keys[name] = frozenset(read())
        except UserError as error:
            unknown[name] = str(error)
        except (KeyError, TypeError, AttributeError) as error:  # a config of another version
            unknown[name] = f"{results.settings} is not of this version ({error!r})"
    return Named(keys, unknown)


def _config(results: Results) -> dict[str, Any]:
    """The config of the last run as plain values; empty where no workflow has run here."""
    path = last_settings(results.settings, "config")
    return _json(path) if path else {}


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is not there") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error})") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} holds no object")
    return value


def _keys(paths: Iterable[Path]) -> set[str]:
    return {str(_json(path).get("key", "")) for path in paths}


def _runs(results: Results, name: str) -> list[Path]:
    """A file of every run of the last config, and of every other run that has it."""
    wanted = [
        results.run(experiment) / name for experiment in _config(results).get("experiments", ())
    ]
    return [*wanted, *sorted((results / "runs").glob(f"*/{name}"))]


def _train(results: Results) -> set[str]:
    started = (results / "runs").glob("*/run_start.json")  # one that goes on at its checkpoint
    return _keys([*_runs(results, "run.json"), *started])


def _tokenizers(results: Results) -> set[str]:
    """Those in use or measured, which must be there, and every other one that is."""
    config = _config(results)
    names = {*config.get("tokenize", {}).values()}.union(*_measured(config).values())
    used = {str(n).removeprefix(TRAINED) for n in names if str(n).startswith(TRAINED)}
    wanted = [results.tokenizer(name) / "run.json" for name in sorted(used)]
    return _keys([*wanted, *(results / "tokenizers").glob("*/run.json")])


def _measured(config: Mapping[str, Any]) -> dict[str, list[str]]:
    """The image tokenizers of which the last run measured how good they are."""
    return {
        modality: [config["tokenize"][modality], *config["quality"][modality]]
        for modality in (IMAGES if config else ())
    }


def _evaluations(results: Results) -> set[str]:
    config = _config(results)
    wanted = [
        results.probe(name, probe) for name in config.get("experiments", ()) for probe in PROBES
    ]
    return _keys([*wanted, *(results / "evaluation").glob("*/*.json")])


def _generated(results: Results) -> set[str]:
    config, wanted = _config(results), []
    if config.get("generate", {}).get("clips"):
        wanted = [results.generated(config["report"]["experiment"]) / "index.json"]
    return _keys([*wanted, *(results / "generated").glob("*/index.json")])


def _quality(results: Results) -> set[str]:
    measured = _measured(_config(results))
    wanted = [results.quality(modality, n) for modality, names in measured.items() for n in names]
    return _keys([*wanted, *(results / "quality").glob("*/*.json")])


def _packed(results: Results) -> set[str]:
    """The packed tokens of every run: which clips and rows they hold follows from the tables."""
    from nano4m_audio.config.parsing import parse
    from nano4m_audio.nano4m.settings import TrainSettings
    from nano4m_audio.training.stage import packed_folder

    keys = set()
    for path in dict.fromkeys(_runs(results, "run.json")):
        settings = parse(TrainSettings, _json(path).get("settings"), str(path))
        keys.add(packed_folder(results, settings).name)
    return keys


def _examples(results: Results) -> set[str]:
    """Those of every complete clip: how many of them a page shows is the config's to say."""
    from nano4m_audio.report.examples import example_key
    from nano4m_audio.report.inputs import read_clips

    return {example_key(clip) for clip in read_clips(results.root) if clip.complete}
