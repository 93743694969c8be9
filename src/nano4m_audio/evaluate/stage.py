"""Probes of a trained run: what it predicts from what, beside chance and honest baselines."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nano4m_audio.backends.compute import Compute, resolve_device
from nano4m_audio.config.parsing import parse
from nano4m_audio.config.schema import EvaluateSettings
from nano4m_audio.errors import UserError, did_you_mean
from nano4m_audio.evaluate.beside import READERS
from nano4m_audio.evaluate.models import Models
from nano4m_audio.files import read_json, write_json
from nano4m_audio.intervals import clip_groups
from nano4m_audio.nano4m.settings import TrainSettings
from nano4m_audio.paths import Results
from nano4m_audio.probes import PROBES, READ_TABLES, Probe
from nano4m_audio.progress import track
from nano4m_audio.seals import kept, publish_json
from nano4m_audio.tables import content_key
from nano4m_audio.training.stage import RUN, WEIGHTS, check_weights, read_sets
from nano4m_audio.versions import stage_version

if TYPE_CHECKING:
    from nano4m_audio.evaluate.common import ProbeInputs

#: What the settings say to every probe.
_SIZES = {"bootstrap", "confidence", "keyframes", "seed", "decoded"}


def evaluate_run(
    results: Results,
    experiment: str,
    settings: EvaluateSettings,
    compute: Compute = Compute(),
    probes: Sequence[str] = tuple(PROBES),
) -> None:
    """Compute the probes of an experiment's run, or find them in the store, and write their JSON.

    The key of each covers the run, the evaluated tokens and their groups, the settings, the
    backends that it runs and its version; a known key is published without torch. ``compute``
    (device and threads) changes no more than rounding. Raises UserError for an unknown probe, an
    unfinished run, an empty split, no training clips or a device that is not there.
    """
    for name in probes:
        if name not in PROBES:
            raise UserError(
                f"unknown probe {name!r}{did_you_mean(name, list(PROBES))}; known: {list(PROBES)}"
            )
    run_dir = results.run(experiment)
    run = read_json(run_dir / RUN, "train the experiment first")
    trained = parse(TrainSettings, run["settings"], str(run_dir / RUN))
    sets = read_sets(results, trained)
    chosen = sets[settings.split]
    _check_clips(results, {name: len(own) for name, own in sets.items()}, settings.split)
    groups = (
        clip_groups(results.split, sets["train"].clip_ids),
        clip_groups(results.split, chosen.clip_ids),
    )
    clips = [sets["train"].digest, chosen.digest, *(numbers.tolist() for numbers in groups)]
    models = Models(results, settings.backends, compute)

    @cache
    def inputs() -> ProbeInputs:
        check_weights(run_dir, run)
        import torch

        from nano4m_audio.evaluate.common import ProbeInputs, load_on

        torch.set_num_threads(compute.threads)
        model = load_on(run_dir / WEIGHTS, resolve_device(compute.device))
        sizes = settings.model_dump(include=_SIZES)
        known = {**sizes, "models": models, "classes": settings.classes}
        return ProbeInputs(model, trained, sets["train"], chosen, *groups, **known)

    for name in track(probes, len(probes), f"evaluate {experiment}"):
        beside = [READERS[reader](results, chosen.clip_ids) for reader in PROBES[name].reads]
        key = _key(PROBES[name], settings, models, run["key"], [*clips, *beside])
        head = {
            "probe": name, "split": settings.split, "clips": len(chosen), "key": key,
            "clip_ids": chosen.clip_ids, "groups": groups[1].tolist(),
        }  # fmt: skip
        _publish(results, experiment, head, trained, inputs)


def _check_clips(results: Results, clips: Mapping[str, int], split: str) -> None:
    """Raise UserError where there are no clips (of each split so many) to evaluate, or none that
    baselines can be counted in."""
    if not clips[split]:
        raise UserError(
            f"the {split} split has no clip with all modalities: nothing to evaluate; use more "
            "clips or another split"
        )
    if not clips["train"]:
        there = ", ".join(f"{name} ({count:,} clips)" for name, count in clips.items() if count)
        raise UserError(
            f"{results} has no training clips with all modalities, only {there}: the baselines are "
            "counted in training clips; give tokens of the train split, too, in a new folder"
        )


def tables_of(results: Results, probes: Sequence[str]) -> list[Path]:
    """What these probes read beside the tokens and the split: all shards of each table, as far as
    they are there."""
    names = sorted(
        {t for probe in probes for read in PROBES[probe].reads for t in READ_TABLES[read]}
    )
    return [path for name in names for path in results.tables(name) if path.exists()]


def _key(
    probe: Probe, settings: EvaluateSettings, models: Models, run_key: str, clips: Sequence[Any]
) -> str:
    used = {key: models.identity(key) for key in probe.models}
    options = settings.model_dump(include={"split", *_SIZES})
    classes = settings.classes if probe.uses_classes else {}
    version = stage_version(f"evaluate/{probe.name}")
    return content_key("evaluate", probe.name, run_key, clips, options, used, classes, version)


def _publish(
    results: Results,
    experiment: str,
    head: Mapping[str, Any],
    trained: TrainSettings,
    inputs: Callable[[], ProbeInputs],
) -> None:
    """Publish one probe; of a run that lacks a modality for it no metrics, and a note why."""
    name = head["probe"]
    lacks = PROBES[name].lacks([m.name for m in trained.model.modalities])
    stored = results.store / "evaluate" / name / f"{head['key']}.json"

    def make() -> None:
        probe = importlib.import_module(f"nano4m_audio.evaluate.{name}")
        found = {"metrics": [], "note": lacks} if lacks else probe.compute(inputs())
        write_json(stored, {**head, **found})

    kept([stored], make, f"evaluate {name}: {experiment}")
    publish_json(stored, results.probe(experiment, name), experiment=experiment)
