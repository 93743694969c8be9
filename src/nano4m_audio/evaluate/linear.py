"""The class by a linear layer on frozen features: of the trained network, and of its floors.

Multinomial logistic regression with an L2 penalty on standardised features; how strong the penalty
is follows from held-out groups of the training clips, and the clips to evaluate are looked at once.
The same is done with a histogram of the clip's token ids (what needs no network), an untrained
network, and the scores of the models that chose the clips (what can be known).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from nano4m_audio.evaluate.common import ACCURACY, Measured, ProbeInputs, metric
from nano4m_audio.evaluate.embeddings import Features, clip_sets, embeddings
from nano4m_audio.intervals import statistic_interval
from nano4m_audio.modalities import MODALITIES
from nano4m_audio.tables import read_rows

#: Penalties: of half the squared weights, beside the mean loss of a training clip.
PENALTIES = (1.0, 0.1, 0.01, 0.001, 0.0001)
FOLDS = 5
#: A fit ends when a step would lower its loss by no more than half of this.
TOLERANCE, MOST_STEPS = 1e-6, 200
_COLUMNS = 2048
#: Features with more dimensions are turned to those in which they vary most.
MOST_DIMENSIONS = 1024
#: The features that a trained network's are compared with.
FLOORS, CEILING = ("tokens", "untrained"), "scorer"
#: Whose scores tell the class: modality -> their table and its column.
SCORERS = {"audio": ("scores/audio", "scores"), "rgb": ("scores/visual", "cosines")}


@dataclass(frozen=True)
class Guess:
    """Named classes int64 [clips], and what they were named from."""

    classes: np.ndarray
    penalty: float
    dimensions: int


def compute(inputs: ProbeInputs) -> dict[str, Any]:
    """Metrics ``<source>_accuracy`` and ``<source>_balanced_accuracy`` for every modality but the
    caption, and ``all``: their features side by side. The baseline is the histogram of tokens.

    "features" has every kind of features: accuracy, balanced accuracy and macro-F1 with intervals,
    and ``gain``: by how much the trained network's balanced accuracy is above.
    """
    if not len(inputs.train.classes):
        return {"metrics": [], "features": [], "procedure": "no training clips to fit a layer on"}
    names = sorted({*inputs.train.classes, *inputs.chosen.classes})
    labels = (np.array([names.index(c) for c in clips.classes])
              for clips in (inputs.train, inputs.chosen))  # fmt: skip
    train, true = labels
    folds = group_folds(inputs.train_groups, inputs.seed)
    metrics: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for source, kinds in feature_kinds(inputs).items():
        guesses = {
            kind: name_classes(features, train, folds, len(names), device_of(inputs))
            for kind, features in kinds.items()
        }
        metrics += _metrics(inputs, source, guesses, true, len(names))
        rows += [_row(inputs, source, kind, guesses, true) for kind in guesses]
    return {"metrics": metrics, "features": rows, "procedure": _procedure(inputs)}


def _procedure(inputs: ProbeInputs) -> str:
    return (
        f"Multinomial logistic regression on features standardised by the {len(inputs.train):,} "
        f"training clips, L2 penalty out of {', '.join(f'{p:g}' for p in PENALTIES)} by the loss "
        f"of {FOLDS} folds of groups; tested once on {len(inputs.chosen):,} clips. Pictures: the "
        f"middle keyframe of a training clip, the mean over the probe's keyframes of the others. "
        f"Tokens: the root of the share of each id. Scorer: the scores of the model that chose the "
        f"clips, the greatest of each label over the clip."
    )


def feature_kinds(inputs: ProbeInputs) -> dict[str, dict[str, Features]]:
    """Source -> kind (one of NETWORKS, "tokens", CEILING) -> features. ``all`` has those of every
    modality side by side, each standardised."""
    made, device = embeddings(inputs), device_of(inputs)
    sources = [
        m.name for m in inputs.settings.model.modalities if MODALITIES[m.name].kind != "text"
    ]
    found: dict[str, dict[str, Features]] = {}
    for name in sources:
        kinds = {kind: made[kind][name] for kind in made}
        kinds["tokens"] = token_shares(inputs, inputs.modality(name))
        if scores := scorer(inputs, name):
            kinds[CEILING] = scores
        found[name] = {k: turned(f.standardised(), device=device) for k, f in kinds.items()}
    for kind in (*made, "tokens"):
        parts = [found[name][kind] for name in sources]
        sides = (
            np.concatenate([getattr(part, side) for part in parts], axis=1)
            for side in ("train", "chosen")
        )
        found.setdefault("all", {})[kind] = turned(Features(*sides), device=device)
    return found


def device_of(inputs: ProbeInputs) -> torch.device:
    """Where the model is, or the CPU where that has no double precision."""
    device = inputs.model.enc_tok_emb.weight.device
    return torch.device("cpu") if device.type == "mps" else device


def token_shares(inputs: ProbeInputs, m: int) -> Features:
    """The root of the share of every id in a clip's tokens, float32 [clips, ids]: roots, as rare
    ids would be lost beside frequent ones. Ids of no training clip are left out."""
    sides = []
    for data, frames in clip_sets(inputs, m):
        vocab = inputs.settings.model.modalities[m].vocab_size
        out = np.zeros((len(data), vocab), np.float32)
        for frame in frames:
            ids = np.asarray(data.arrays[m][:, int(frame)]).astype(np.int64)
            rows = np.repeat(np.arange(len(data)), ids.shape[1])
            np.add.at(out, (rows, ids.ravel()), 1 / ids.shape[1] / len(frames))
        sides.append(np.sqrt(out, out=out))
    seen = sides[0].any(axis=0)
    return Features(*(side[:, seen] for side in sides))


def turned(
    features: Features, most: int = MOST_DIMENSIONS, device: torch.device | str = "cpu"
) -> Features:
    """The same along the axes of the training clips' variance, at most ``most`` of them, float64.
    As many as there are training clips lose nothing: a penalised layer never looks at any other."""
    x, y = features.train, features.chosen
    wide = x.shape[1] > x.shape[0]
    square = _products(x, x, device) if wide else _products(x.T, x.T, device)
    values, vectors = (part.flip(-1)[..., :most] for part in torch.linalg.eigh(square))
    kept = values > 1e-9 * values[:1].clamp(min=1e-30)  # nothing varies in one clip
    values, vectors = values[kept], vectors[:, kept]
    if wide:
        sides = vectors * values.sqrt(), _products(y, x, device) @ (vectors / values.sqrt())
    else:
        sides = tuple(torch.as_tensor(z, device=device).double() @ vectors for z in (x, y))
    return Features(*(side.cpu().numpy() for side in sides))


def _products(a: np.ndarray, b: np.ndarray, device: torch.device | str) -> torch.Tensor:
    """The products of all rows, float64 [len(a), len(b)], summed over parts of the columns: a
    histogram of many clips is held once, and in single precision."""
    total = torch.zeros((len(a), len(b)), dtype=torch.float64, device=device)
    for start in range(0, a.shape[1], _COLUMNS):
        parts = [torch.as_tensor(x[:, start : start + _COLUMNS], device=device) for x in (a, b)]
        total += parts[0].double() @ parts[1].double().T
    return total


def scorer(inputs: ProbeInputs, name: str) -> Features | None:
    """The greatest score of every label over a clip; None where no model scored the clips."""
    if name not in SCORERS:
        return None
    table, column = SCORERS[name]
    wanted = {*inputs.train.clip_ids, *inputs.chosen.clip_ids}
    rows = {
        row["clip_id"]: np.max(row[column], axis=0)
        for path in inputs.models.results.tables(table)
        if path.exists()
        for row in read_rows(path, table, ["clip_id", column])
        if row["clip_id"] in wanted and len(row[column])
    }
    if len(rows) < len(wanted):
        return None
    sides = (np.array([rows[clip] for clip in clips.clip_ids], np.float32)
             for clips in (inputs.train, inputs.chosen))  # fmt: skip
    return Features(*sides)


def group_folds(groups: np.ndarray, seed: int, folds: int = FOLDS) -> np.ndarray:
    """A fold for every clip, int64 [n]: clips of a group share one, and folds are about as large
    as each other."""
    numbers, sizes = np.unique(groups, return_counts=True)
    drawn = np.random.default_rng([seed, 47]).random(len(numbers))
    held, fold_of = np.zeros(min(folds, len(numbers))), {}
    for i in np.lexsort((drawn, -sizes)):
        fold_of[int(numbers[i])] = int(held.argmin())
        held[held.argmin()] += sizes[i]
    return np.array([fold_of[int(group)] for group in groups])


def name_classes(
    features: Features,
    train: np.ndarray,
    folds: np.ndarray,
    n_classes: int,
    device: torch.device | str = "cpu",
) -> Guess:
    """The most likely class of the clips to evaluate, by the penalty that is best on the folds;
    ``train`` int64 are the classes of the training clips. Only their classes are named."""
    known, labels = np.unique(train, return_inverse=True)
    dimensions = features.train.shape[1]
    if len(known) < 2 or not features.train.any():
        most = np.bincount(train, minlength=n_classes).argmax()
        return Guess(np.full(len(features.chosen), most), PENALTIES[0], dimensions)
    number = int(folds.max()) + 1 if folds.max() else 0
    held = folds[:, None] == [*range(number), -1]  # nothing is held out of the last fit
    x, y = (with_one(side, device) for side in (features.train, features.chosen))
    losses, fits = np.zeros(len(PENALTIES)), []
    for i, weights in enumerate(fit_path(x, labels, ~held, PENALTIES)):
        log_p = _scores(x, weights).log_softmax(dim=-1).cpu().numpy()
        losses[i] = -log_p[np.arange(len(labels)), :, labels][held].sum()
        fits.append(weights[:, -1])
    best = int(losses.argmin())
    guessed = (y @ fits[best]).argmax(dim=1).cpu().numpy()
    return Guess(known[guessed], PENALTIES[best], dimensions)


def fit_path(
    x: torch.Tensor, labels: np.ndarray, used: np.ndarray, penalties: Sequence[float]
) -> Iterator[torch.Tensor]:
    """Logistic regressions from the strongest penalty on, each begun where the last one ended, for
    all columns of ``used`` bool [n, fits], the clips of each fit, at once: weights float64
    [D, fits, classes]. The last column of ``x`` [n, D] is 1, and its weights are not penalised.

    Accelerated gradient steps (Nesterov, restarted after O'Donoghue and Candes 2015). The axes of
    ``x`` are those of its variance, so Boehning's bound (1992) of the curvature is one number for
    each of them, and no step length has to be searched for.
    """
    one_hot = torch.eye(int(labels.max()) + 1, dtype=x.dtype)[labels][:, None].to(x)
    counted = torch.as_tensor(used).to(x)
    share = (counted / counted.sum(dim=0))[:, :, None]
    curvature = x.square().sum(dim=0)[:, None, None] / counted.sum(dim=0)[:, None] / 2
    weights = x.new_zeros((x.shape[1], used.shape[1], one_hot.shape[2]))
    for strength in penalties:
        penalty = x.new_full((x.shape[1], 1, 1), strength)
        penalty[-1] = 0
        rate, ahead, age = 1 / (curvature + penalty), weights, x.new_ones((1, used.shape[1], 1))
        for _ in range(MOST_STEPS):
            error = share * (_scores(x, ahead).softmax(dim=-1) - one_hot)
            slope = (x.T @ error.flatten(1)).view(weights.shape) + penalty * ahead
            before, weights = weights, ahead - rate * slope
            if (rate * slope.square()).sum(dim=(0, 2)).max() < TOLERANCE:
                break
            moved = weights - before
            uphill = (slope * moved).sum(dim=(0, 2), keepdim=True) > 0
            age = torch.where(uphill, 1.0, age)
            older = (1 + (1 + 4 * age.square()).sqrt()) / 2
            ahead, age = weights + (age - 1) / older * moved, older
        yield weights


def _scores(x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """float64 [n, fits, classes]."""
    return (x @ weights.flatten(1)).view(len(x), *weights.shape[1:])


def with_one(x: np.ndarray, device: torch.device | str = "cpu") -> torch.Tensor:
    """A column of ones at the end, float64 [n, D + 1]."""
    full = torch.as_tensor(x, dtype=torch.float64, device=device)
    return torch.cat([full, full.new_ones((len(full), 1))], dim=1)


def balance(true: np.ndarray) -> np.ndarray:
    """A weight per clip under which every class that occurs weighs the same; their sum is n."""
    _, labels, sizes = np.unique(true, return_inverse=True, return_counts=True)
    return len(true) / len(sizes) / sizes[labels]


def macro_f1(true: np.ndarray, guess: np.ndarray) -> float:
    """The mean of 2 TP / (2 TP + FP + FN) over the classes that occur."""
    size = int(max(true.max(), guess.max())) + 1
    right = np.bincount(true[true == guess], minlength=size)
    both = np.bincount(true, minlength=size) + np.bincount(guess, minlength=size)
    occurs = np.bincount(true, minlength=size) > 0
    return float((2 * right[occurs] / both[occurs]).mean())


def _measured(name: str, guess: Guess, true: np.ndarray, note: str = "") -> tuple[Measured, ...]:
    """Accuracy and balanced accuracy of the guesses."""
    hits, weights = (guess.classes == true).astype(float), balance(true)
    return (
        Measured(f"{name}_accuracy", hits, np.ones(len(true)), note),
        Measured(f"{name}_balanced_accuracy", hits * weights, weights, note),
    )


def _metrics(
    inputs: ProbeInputs, source: str, guesses: dict[str, Guess], true: np.ndarray, n_classes: int
) -> list[dict[str, Any]]:
    """The trained network beside the histogram of tokens."""
    guess = guesses["trained"]
    note = f"{guess.dimensions:,} dimensions, penalty {guess.penalty:g}"
    own = _measured(source, guess, true, note)
    floor = _measured(f"{source}_tokens", guesses["tokens"], true)
    return [
        metric(a, inputs, unit=ACCURACY, chance=1 / n_classes, baseline=b)
        for a, b in zip(own, floor, strict=True)
    ]


def _row(
    inputs: ProbeInputs, source: str, kind: str, guesses: dict[str, Guess], true: np.ndarray
) -> dict[str, Any]:
    """All three measures of one kind of features, and how far the trained network is above it."""
    guess = guesses[kind]
    plain, balanced = (
        metric(own, inputs, unit=ACCURACY, chance=None) for own in _measured(source, guess, true)
    )
    f1 = statistic_interval(
        lambda i: macro_f1(true[i], guess.classes[i]),
        inputs.groups, inputs.confidence, inputs.bootstrap, inputs.seed,
    ) or (None, None)  # fmt: skip
    row = {
        "source": source,
        "features": kind,
        "dimensions": guess.dimensions,
        "penalty": guess.penalty,
        "n": plain["n"],
        "groups": plain["groups"],
        **{
            name: {key: found[key] for key in ("value", "low", "high")}
            for name, found in (("accuracy", plain), ("balanced_accuracy", balanced))
        },
        "macro_f1": {"value": macro_f1(true, guess.classes), "low": f1[0], "high": f1[1]},
    }
    if kind == "trained":
        return row
    trained = _measured(source, guesses["trained"], true)[1]
    floor = _measured(f"{source}_{kind}", guess, true)[1]
    compared = metric(trained, inputs, unit=ACCURACY, chance=None, baseline=floor)["baseline"]
    return {**row, "gain": {key: compared[key] for key in ("gain", "low", "high", "p")}}
