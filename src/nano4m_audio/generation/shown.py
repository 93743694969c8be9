"""What the report shows of a model: what it makes, beside the truth and what its tokenizer leaves.

The ceiling is the tokenizer's round trip of the true one: no model that writes tokens can do better
than that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from nano4m_audio.backends.compute import Compute, resolve_device
from nano4m_audio.config.parsing import parse
from nano4m_audio.config.schema import GenerationsSettings
from nano4m_audio.errors import UserError
from nano4m_audio.evaluate.models import Models
from nano4m_audio.files import copy_file, read_json, sha256, write_json
from nano4m_audio.generation.tasks import Shown, Task, agreement, tasks_of
from nano4m_audio.generation.views import Things, View, view_of, write
from nano4m_audio.modalities import MODALITIES, route
from nano4m_audio.nano4m.sampling import Sampling
from nano4m_audio.nano4m.settings import TrainSettings
from nano4m_audio.paths import Results
from nano4m_audio.progress import track
from nano4m_audio.seals import intact, kept, seal
from nano4m_audio.tables import content_key
from nano4m_audio.tokenize.keyframes import Pick, list_clips
from nano4m_audio.training.stage import RUN, WEIGHTS, check_weights, read_sets
from nano4m_audio.training.token_sets import TokenSet
from nano4m_audio.versions import stage_version

INDEX = "index.json"


def over_classes(classes: Sequence[str], count: int) -> list[int]:
    """``count`` places spread over classes: the first of each class, then the second ..."""
    by_class: dict[str, list[int]] = defaultdict(list)
    for place, name in enumerate(classes):
        by_class[name].append(place)
    rounds = zip_longest(*(by_class[name] for name in sorted(by_class)))
    return [place for row in rounds for place in row if place is not None][:count]


@dataclass(frozen=True)
class _Inputs:
    """Some clips of a split: their tokens, and by modality where what these were made from is."""

    chosen: TokenSet
    clips: np.ndarray
    shown: Shown
    picks: dict[str, list[Pick]]

    @property
    def content(self) -> list[Any]:
        """What is shown of them, for the content key."""
        rows = [row.tolist() for row in self.shown.rows]
        places = [
            [pick.key, pick.selected["window_start_s"], pick.selected["keyframes"], pick.keyframes]
            for picks in self.picks.values()
            for pick in picks
        ]
        return [[self.chosen.clip_ids[i] for i in self.clips], rows, places]


def show_run(
    results: Results,
    experiment: str,
    settings: GenerationsSettings,
    compute: Compute = Compute(),
) -> list[Path]:
    """Make what is shown of an experiment's run, or find it in the store, and publish it.

    Returns the files, an index and what it names. What of the tasks the run's modalities allow is
    made for ``settings.clips`` clips. The key covers the run, these clips, the settings and the
    tokenizers; a known one is published without torch. Raises UserError for an unfinished run or a
    device that is not there.
    """
    if not settings.clips:
        raise UserError("generate.clips = 0: nothing is to be shown; set it to 6, for example")
    run_dir = results.run(experiment)
    run = read_json(run_dir / RUN, "train the experiment first")
    trained = parse(TrainSettings, run["settings"], str(run_dir / RUN))
    inputs = _read_inputs(results, trained, settings)
    models = Models(results, settings.backends, compute)
    identities = [models.identity(f"tokenize.{name}") for name in inputs.shown.names]
    told = settings.model_dump(exclude={"backends"})
    version = stage_version("generated")
    key = content_key("generated", version, run["key"], told, identities, inputs.content)
    folder = results.store / "generated" / key

    def make() -> None:
        check_weights(run_dir, run)
        import torch

        torch.set_num_threads(compute.threads)
        from nano4m_audio.evaluate.common import load_on

        model = load_on(run_dir / WEIGHTS, resolve_device(compute.device))
        views = {
            name: view_of(
                name,
                inputs.shown.tokens(name),
                inputs.picks.get(name, ()),
                results.store,
                models.load(f"tokenize.{name}"),
            )
            for name in inputs.shown.names
        }
        write_json(folder / INDEX, {"key": key, **_make(model, inputs, settings, views, folder)})

    index = folder / INDEX
    kept([index, *_named(index)], make, f"generations: {experiment}")
    return _publish(folder, results.generated(experiment))


def _named(index: Path) -> list[Path]:
    """The files that a finished index names."""
    if not intact(index):
        return []
    return [index.parent / name for name in read_json(index, "make it again")["files"]]


def _publish(folder: Path, out: Path) -> list[Path]:
    """Copy the index and what it names, the index last; other files of ``out`` go."""
    named = _named(folder / INDEX)
    names = [*(path.name for path in named), INDEX]
    for path in out.glob("clip*"):
        if path.name not in names:
            path.unlink()
    for name in names:
        copy_file(folder / name, out / name)
    return [out / name for name in reversed(names)]


def _read_inputs(
    results: Results, trained: TrainSettings, settings: GenerationsSettings
) -> _Inputs:
    chosen = read_sets(results, trained)[settings.split]
    if not len(chosen):
        raise UserError(
            f"the {settings.split} split has no clip with all modalities: nothing to show; "
            "use more clips or another split"
        )
    clips = np.array(over_classes(chosen.classes, settings.clips), np.int64)
    frame = int(chosen.data.spread_keyframes(1)[0])
    wanted = [chosen.clip_ids[i] for i in clips]
    picks = {}
    for modality in trained.model.modalities:
        row = MODALITIES[modality.name]
        if row.kind != "text":
            source = modality.name if row.estimator else "rgb"
            found = {pick.clip_id: pick for pick in list_clips(results, source, settings.split)}
            picks[modality.name] = [_at(found[clip], frame) for clip in wanted]
    return _Inputs(chosen, clips, Shown.of(chosen.data, clips), picks)


def _at(pick: Pick, frame: int) -> Pick:
    return Pick(pick.clip_id, pick.shard, pick.key, (frame,), pick.selected)


def _make(
    model: Any,
    inputs: _Inputs,
    settings: GenerationsSettings,
    views: Mapping[str, View],
    folder: Path,
) -> dict[str, Any]:
    """Write all pictures and sounds; return the index."""
    tasks = tasks_of(inputs.shown.names)
    used = {name for task in tasks for name in (task.source, task.target)}
    true = {name: write(folder, views[name], f"{name}_true", views[name].true) for name in used}
    ceiling = {
        name: write(folder, views[name], f"{name}_ceiling", again)
        for name in used
        if (again := views[name].ceiling) is not None
    }
    rows = []
    for task in track(tasks, len(tasks), "generations [tasks]"):
        facts, given, made = _run(model, task, inputs.shown, settings, views)
        cells = {
            "given": true[task.source],
            "made": write(folder, views[task.target], f"{task.name}_made", made),
            "true": true[task.target],
            "ceiling": ceiling.get(task.target),
        }
        if given is not None:
            cells["given"] = write(folder, views[task.source], f"{task.name}_given", given)
        rows.append({**facts, "cells": cells})
    files = sorted(path.name for path in folder.glob("clip*") if path.suffix in (".jpg", ".mp3"))
    seal(*(folder / name for name in files))
    ids, classes = inputs.chosen.clip_ids, inputs.chosen.classes
    return {
        "split": settings.split,
        "sampling": settings.model_dump(include=set(Sampling.model_fields)),
        "clips": [{"clip_id": ids[i], "class_name": classes[i]} for i in inputs.clips],
        "tasks": rows,
        "files": {name: sha256(folder / name) for name in files},
    }


def _run(
    model: Any, task: Task, shown: Shown, settings: Sampling, views: Mapping[str, View]
) -> tuple[dict[str, Any], Things | None, Things]:
    """What is known of a task, what is shown as given (None: the whole source), and what the model
    makes of it."""
    from nano4m_audio.generation.make import marks_of
    from nano4m_audio.nano4m.generate import generate_chain

    source, target = views[task.source], views[task.target]
    place = shown.names.index(task.target)
    given = shown.given(task, source.frame, settings.seed)
    marks = {place: marks_of(target.tokenizer)} if target.kind == "text" else None
    numbers = np.arange(len(shown))
    names = [task.target] if task.partial else route(task.target, shown.names, task.source)
    steps = [shown.names.index(name) for name in names]
    packed = shown.packed(task, given)
    made = generate_chain(model, packed, steps, settings, numbers, marks=marks)[place]
    asked = ~given if task.partial else np.ones(made.shape, bool)
    facts = {
        "name": task.name,
        "source": task.source,
        "target": task.target,
        "share": task.share if task.partial else None,
        **agreement(made, shown.tokens(task.target), asked),
        "ceiling": target.kept,
    }
    return facts, source.part(given) if task.partial else None, target.seen(made)
