"""Probes of a trained run: what it predicts from what, beside chance and honest baselines."""

from __future__ import annotations

import importlib

from nano4m_audio.backends.compute import Compute, resolve_device
from nano4m_audio.config.reading import parse
from nano4m_audio.config.schema import Evaluate
from nano4m_audio.errors import UserError, did_you_mean
from nano4m_audio.files import read_json, write_json
from nano4m_audio.intervals import clip_groups
from nano4m_audio.nano4m.settings import TrainSettings
from nano4m_audio.paths import Results
from nano4m_audio.probes import PROBES
from nano4m_audio.seals import kept, publish_json
from nano4m_audio.tables import content_key
from nano4m_audio.training.stage import RUN, WEIGHTS, check_weights, read_sets
from nano4m_audio.versions import stage_version


def evaluate_probe(
    results: Results, experiment: str, name: str, settings: Evaluate, compute: Compute = Compute()
) -> None:
    """Compute one probe of an experiment's run, or find it in the store, and write its JSON.

    The key covers the run, the evaluated tokens and their groups, the settings and the version; a
    known key is published without torch. ``compute`` (device and threads) changes no more than
    rounding. Raises UserError for an unknown probe, an unfinished run, an empty split or a device
    that is not there.
    """
    if name not in PROBES:
        raise UserError(
            f"unknown probe {name!r}{did_you_mean(name, list(PROBES))}; known: {list(PROBES)}"
        )
    run_dir, split = results.run(experiment), results.split
    run = read_json(run_dir / RUN, "train the experiment first")
    trained = parse(TrainSettings, run["settings"], str(run_dir / RUN))
    sets = read_sets(results, trained)
    chosen = sets[settings.split]
    if not len(chosen):
        raise UserError(
            f"the {settings.split} split has no clip with all five modalities: nothing to "
            "evaluate; use more clips or another split"
        )
    options, version = settings.model_dump(), stage_version(f"evaluate/{name}")
    groups = clip_groups(split, sets["train"].clip_ids), clip_groups(split, chosen.clip_ids)
    clips = [sets["train"].digest, chosen.digest, *(numbers.tolist() for numbers in groups)]
    key = content_key("evaluate", name, run["key"], clips, options, version)
    stored = results.store / "evaluate" / name / f"{key}.json"

    def make() -> None:
        check_weights(run_dir, run)
        import torch

        from nano4m_audio.evaluate.common import ProbeInputs, load_on

        torch.set_num_threads(compute.threads)
        model = load_on(run_dir / WEIGHTS, resolve_device(compute.device))
        sizes = settings.model_dump(exclude={"split"})
        inputs = ProbeInputs(model, trained, sets["train"], chosen, *groups, **sizes)
        probe = importlib.import_module(f"nano4m_audio.evaluate.{name}")
        head = {"probe": name, "split": settings.split, "clips": len(chosen), "key": key}
        write_json(stored, {**head, **probe.compute(inputs)})

    kept([stored], make, f"evaluate {name}: {experiment}")
    publish_json(stored, results.probe(experiment, name), experiment=experiment)
