"""What a run will take, before it: space and time, by an earlier run here or measured figures.

They say whether a run fits into an evening and onto a disk, no more: films differ tenfold.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from nano4m_audio.config.schema import Config
from nano4m_audio.errors import UserError
from nano4m_audio.experiments import modality_table
from nano4m_audio.modalities import LABELS, MODALITIES
from nano4m_audio.paths import Results
from nano4m_audio.running import rows_of_tables
from nano4m_audio.settings_files import last_settings
from nano4m_audio.upkeep.survey import size_of

#: What the store holds of a clip of ten seconds [bytes], of photographs and recordings: frames and
#: sound of every film that can be decoded, maps of every clip that is kept (docs/CLUSTER.md).
CLIP_BYTES = {"frames and sound": 1_150_000, "depth and normals": 1_850_000}
#: Films that are made or fetched [bytes a candidate].
MEDIA_BYTES = {"barnyard": 100_000, "web": 1_500_000}
#: Weights, best weights and optimiser state of a training, and the published copy [bytes]: of each
#: parameter.
_BYTES_PER_PARAMETER = 28
#: Seconds of one core for a clip of ten seconds (docs/BENCHMARKS.md; those of the small models are
#: from the demo).
_CLIP_S = {"decode": 0.47, "fingerprints": 0.03, "barnyard": 0.3}
_BACKEND_S = {
    "score.audio": {"mini": 0.06, "panns_cnn14": 1.54},
    "score.visual": {"mini": 0.08, "clip_vit_b32": 0.57},
    "score.speech": {"silero": 0.04},
    "label.depth": {"mini": 0.10, "depth_anything_v2_small": 7.7},
    "label.normals": {"mini": 0.10, "dsine": 5.2},
    "tokenize.rgb": {"mini": 0.09, "fourm_16k": 2.8},
    "tokenize.depth": {"mini": 0.06, "fourm_8k": 2.8},
    "tokenize.normals": {"mini": 0.09, "fourm_8k": 2.8},
    "tokenize.audio": {"mini": 0.03, "encodec_24khz": 0.13},
    "tokenize.caption": {"gpt2": 0.005},
}
#: Training, probes, generations and report of the demo [s].
_DEMO_S, _DEMO_PARAMETERS = 155.0, 6.6e6
_FEW_ROWS = 10


@dataclass
class Time:
    """Minutes for the stages up to tokens, and for the trainings where there is a figure;
    ``unknown`` are models without one."""

    clips_min: float
    training_min: float | None
    measured_here: bool
    unknown: list[str] = field(default_factory=list)


def parameters(config: Config, experiment: str) -> float:
    """About how many parameters a model has: layers, and two vectors for every id."""
    model = config.experiments[experiment].model
    ids = sum(row["vocab_size"] for row in modality_table(config))
    layers = 12 * model.encoder_depth + 16 * model.decoder_depth
    return float(layers * model.dim**2 + 2 * ids * model.dim)


def needed_bytes(config: Config, clips: int, results: Results) -> int:
    """What a run will write, less what an earlier one has written."""
    media = MEDIA_BYTES.get(config.source, 0)
    trained = sum(parameters(config, name) for name in config.experiments)
    whole = clips * (sum(CLIP_BYTES.values()) + media) + int(trained * _BYTES_PER_PARAMETER)
    return max(0, whole - (size_of([results.root]) if results.root.is_dir() else 0))


def needed_time(config: Config, clips: int, cores: int, results: Results) -> Time:
    """How long a run from nothing takes on the CPU."""
    here = _measured(config, results)
    rates = {**_CLIP_S, **here}
    if config.source != "barnyard":
        rates.pop("barnyard", None)
    unknown = []
    for key, name in config.backends().items():
        if key in here or key not in _BACKEND_S:
            continue
        if name in _BACKEND_S[key]:
            rates[key] = _BACKEND_S[key][name]
        else:
            unknown.append(f"{name} ({key})")
    training = 0.0
    for name, experiment in config.experiments.items():
        if parameters(config, name) > 2 * _DEMO_PARAMETERS or experiment.optim.steps > 2000:
            return Time(sum(rates.values()) * clips / cores / 60, None, bool(here), unknown)
        training += _DEMO_S / 60
    return Time(sum(rates.values()) * clips / cores / 60, training, bool(here), unknown)


def _measured(config: Config, results: Results) -> dict[str, float]:
    """Seconds for a row of each stage of an earlier run here by the same model, by config key."""
    before = _last_config(results)
    found: dict[str, float] = {}
    for job, stages in _stages_of_jobs(config).items():
        models = [stage for stage in stages if stage in _BACKEND_S]
        if models and (
            before is None or any(before.backend(key) != config.backend(key) for key in models)
        ):
            continue
        elapsed_s, rows = 0.0, 0
        for path in (results / "benchmarks" / job).glob("*.tsv"):
            number = _rows_computed(results / "logs" / job / f"{path.stem}.log")
            seconds = _seconds(path)
            if number >= _FEW_ROWS and seconds is not None:
                elapsed_s, rows = elapsed_s + seconds, rows + number
        if rows:
            found |= dict.fromkeys(stages, elapsed_s / rows / len(stages))
    return found


def _stages_of_jobs(config: Config) -> dict[str, list[str]]:
    """What is measured together: of every folder of benchmarks, the stages that its jobs do."""
    alone = {key.replace(".", "_"): [key] for key in _BACKEND_S if key.startswith("score.")}
    made_of: dict[str, list[str]] = {"tokenize_clips": [], "tokenize_labels": []}
    for name in config.modalities:
        source = "labels" if MODALITIES[name].estimator else "clips"
        made_of[f"tokenize_{source}"].append(f"tokenize.{name}")
    return {
        **{"decode": ["decode"], "barnyard": ["barnyard"], "score_fingerprints": ["fingerprints"]},
        **alone,
        "label": [f"label.{name}" for name in LABELS],
        **made_of,
    }


def _rows_computed(log: Path) -> int:
    """The clips for which a job had to compute most of its tables (maps that one network makes are
    one table's); 0 where it found some of them known."""
    try:
        computed = [computed for _, computed in rows_of_tables(log)]
    except OSError:
        return 0
    most = max(computed, default=0)
    return most if 2 * sum(computed) >= most * len(computed) else 0


def _seconds(path: Path) -> float | None:
    """The time of the job in a benchmark file of Snakemake; None for another kind of file."""
    try:
        head, *rows = path.read_text("utf-8").splitlines()
        return float(dict(zip(head.split("\t"), rows[-1].split("\t"), strict=False))["s"])
    except (OSError, ValueError, IndexError, KeyError):
        return None


def _last_config(results: Results) -> Config | None:
    """The config of the last run; None where there is none, or one of another version."""
    from nano4m_audio.config.parsing import parse_json

    try:
        path = last_settings(results.settings, "config")
        return parse_json(Config, str(path)) if path else None
    except UserError:
        return None
