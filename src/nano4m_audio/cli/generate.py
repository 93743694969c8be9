"""``nano4m-audio generate``: what a trained model makes of a sound, a picture or a text."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from nano4m_audio import paths
from nano4m_audio.cli.options import Device, Threads, example, read_config, stage_settings
from nano4m_audio.errors import UserError
from nano4m_audio.nano4m.sampling import Sampling

if TYPE_CHECKING:
    from nano4m_audio.nano4m.model import FourM

app = typer.Typer()


def _with_sampling(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option per key of Sampling; those that are used reach it as ``chosen``."""

    @functools.wraps(command)
    def with_options(**values: Any) -> None:
        options = {name: values.pop(name) for name in Sampling.model_fields}
        command(**values, chosen={k: v for k, v in options.items() if v is not None})

    own = dict(inspect.signature(command).parameters)
    del own["chosen"]
    hints = get_type_hints(command, include_extras=True)
    parameters = [p.replace(annotation=hints[name]) for name, p in own.items()]
    for name, key in Sampling.model_fields.items():
        kind = Annotated[key.annotation | None, typer.Option(help=key.description)]  # type: ignore[operator, name-defined]
        parameters.append(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
        )
    signature = inspect.Signature(parameters)
    with_options.__signature__ = signature  # type: ignore[attr-defined]
    with_options.__annotations__ = {p.name: p.annotation for p in parameters}
    return with_options


def _names(text: str | None) -> list[str]:
    return [name for part in (text or "").split(",") if (name := part.strip())]


Clips = Annotated[
    list[str] | None,
    typer.Argument(help="ids of clips of the results folder; after -- if one begins with -"),
]
To = Annotated[
    str, typer.Option(help="modalities to make, in this order, each from those before it")
]
From = Annotated[
    str | None, typer.Option("--from", help="modalities of the clips that are given: audio,rgb")
]
Audio = Annotated[Path | None, typer.Option(help="a sound of yours: 3.4 s of it, see --start")]
Start = Annotated[
    float, typer.Option(min=0, max=600, help="where in your sound these 3.4 s begin [s]")
]
Rgb = Annotated[Path | None, typer.Option(help="a picture of yours: its centre square")]
Caption = Annotated[str | None, typer.Option(help="a text of yours")]
Keep = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="share of a modality to make that is given, too: 0.8 continues a sound, or fills in "
        "the lower part of a picture",
    ),
]
Run = Annotated[
    Path, typer.Option(help="folder of a run; its results folder has clips and settings")
]
Checkpoint = Annotated[
    Path | None, typer.Option(help="weights in place of a run's: *.safetensors, *.pth or a folder")
]
Configs = Annotated[
    list[Path] | None, typer.Option(help="config with the tokenizers, if not that of the last run")
]
ResultsOf = Annotated[
    Path | None, typer.Option(help="results folder with the clips, if not that of the run")
]
Out = Annotated[
    Path | None, typer.Option(help="where to write; absent: generated/by-hand of the results")
]
Samples = Annotated[int, typer.Option(min=1, max=1000, help="how many of each to make")]
Keyframe = Annotated[int, typer.Option(min=0, max=9, help="which keyframe of a clip")]


@app.command(
    epilog=example('generate --caption "cat meowing" --to rgb,depth,normals,audio --steps 4')
)
@_with_sampling
def generate(
    clips: Clips = None,
    *,
    to: To,
    given: From = None,
    audio: Audio = None,
    start: Start = 0.0,
    rgb: Rgb = None,
    caption: Caption = None,
    keep: Keep = None,
    run: Run = Path("results/runs/base"),
    checkpoint: Checkpoint = None,
    config: Configs = None,
    results: ResultsOf = None,
    out: Out = None,
    samples: Samples = 1,
    keyframe: Keyframe = 5,
    device: Device = "auto",
    threads: Threads = 1,
    chosen: dict[str, Any],
) -> None:
    """Make modalities of clips, or of a sound, a picture or a text of yours, with a trained model:
    PNG, WAV and text files, and generated.json with their ids and settings."""
    from nano4m_audio.backends.compute import Compute, resolve_device
    from nano4m_audio.config.parsing import parse
    from nano4m_audio.config.schema import Config
    from nano4m_audio.evaluate.models import Models
    from nano4m_audio.generation.make import printable
    from nano4m_audio.generation.request import Maker, Request, answer
    from nano4m_audio.modalities import WINDOW_S

    root = results or (run.parent.parent if run.parent.name == "runs" else Path("results"))
    place = paths.Results(root)
    told = read_config(config) if config else stage_settings(Config, "config", None, place)
    sampling = told.generate.model_dump(include=set(Sampling.model_fields))
    settings = parse(Sampling, {**sampling, **chosen}, "generate")
    own = {"audio": audio, "rgb": rgb, "caption": caption}
    inputs = {name: str(value) for name, value in own.items() if value is not None}
    request = Request(
        clips or [], _names(given), inputs, _names(to), keep, keyframe, samples, start
    )
    model, identity = _model(run, checkpoint, resolve_device(device), threads)
    models = Models(place, told.backends(), Compute(device, threads=threads))
    folder = out or place / "generated" / "by-hand"
    made = answer(request, Maker(model, identity, place, models), settings, folder)
    for sample in made:
        texts = {name: one["text"] for name, one in sample["made"].items() if "text" in one}
        for name, text in texts.items():
            print(f"{printable(sample['name'] or name)}: {text}")
    if audio is not None:
        name = printable(str(audio))
        print(f"heard of {name}: {WINDOW_S:.1f} s, from {start:g} s on (--start)", file=sys.stderr)
    count = sum(len(sample["made"]) for sample in made)
    print(f"{folder}: {count:,} made, and generated.json about them", file=sys.stderr)


def _model(
    run: Path, checkpoint: Path | None, device: str, threads: int
) -> tuple[FourM, dict[str, Any]]:
    """A model ready for use, and where it is from."""
    import torch

    from nano4m_audio.evaluate.common import load_on
    from nano4m_audio.files import read_json, sha256
    from nano4m_audio.interchange.weights import MODEL_FILE, read_model
    from nano4m_audio.training.stage import RUN, WEIGHTS, check_weights

    torch.set_num_threads(threads)
    if checkpoint:
        model = read_model(checkpoint)[0].eval().to(torch.device(device))
        file = checkpoint / MODEL_FILE if checkpoint.is_dir() else checkpoint
        return model, {"checkpoint": str(checkpoint), "sha256": sha256(file)}
    facts = read_json(run / RUN, "train the experiment first, or name a --checkpoint")
    weights = run / WEIGHTS
    if not weights.is_file():
        raise UserError(f"{weights} does not exist: train the experiment first")
    check_weights(run, facts)
    digest = sha256(weights)
    return load_on(weights, device), {"run": str(run), "key": facts["key"], "sha256": digest}
