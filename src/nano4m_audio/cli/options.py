"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, TypeVar

import typer

from nano4m_audio import paths
from nano4m_audio.errors import UserError, did_you_mean
from nano4m_audio.modalities import IMAGES, LABELS, MODALITIES
from nano4m_audio.progress import parts

if TYPE_CHECKING:
    from pydantic import BaseModel

    from nano4m_audio.backends.compute import Compute
    from nano4m_audio.config.schema import Config

Settings = Annotated[
    str | None,
    typer.Option(
        help="what this stage is told: JSON, or a file that holds it; absent: what the last run "
        "of the workflow in this results folder was told, or else the defaults"
    ),
]
Shard = Annotated[str, typer.Option(help="shard name, such as 0000")]
Results = Annotated[
    paths.Results,
    typer.Option(
        parser=lambda text: paths.Results(Path(text)),
        metavar="FOLDER",
        help="folder with the artifacts of all stages",
    ),
]
Device = Annotated[
    Literal["auto", "cpu", "cuda", "mps"], typer.Option(help="where pretrained models run")
]
DTYPES = ("float32", "bfloat16", "float16")
DType = Annotated[
    Literal["float32", "bfloat16", "float16"], typer.Option(help="type in which models run")
]
Threads = Annotated[int, typer.Option(help="CPU threads to use")]
#: Of a command that works on several modalities in one process.
SettingsOfEach = Annotated[
    list[str] | None,
    typer.Option(
        help="what this stage is told of a modality, once for each: JSON, or a file that holds it; "
        "absent: what the last run of the workflow in this results folder was told, or else the "
        "defaults"
    ),
]
DTypeOfEach = Annotated[
    list[str] | None,
    typer.Option(
        metavar=f"<{'|'.join(DTYPES)}>",
        help="type in which models run: one for all modalities, or once for each; absent: float32",
    ),
]
Experiment = Annotated[str, typer.Option(help="name of the experiment")]
if TYPE_CHECKING:
    Image: TypeAlias = str
else:  # names of a table, which a type checker cannot know
    Image = Annotated[Literal[tuple(IMAGES)], typer.Argument()]
Labels = Annotated[list[str], typer.Argument(metavar="|".join(LABELS))]
Modalities = Annotated[list[str], typer.Argument(metavar="|".join(MODALITIES))]
Attempt = Annotated[int, typer.Option(help="which attempt at this table this is; 0 is the first")]
RESULTS = paths.Results()
_Model = TypeVar("_Model", bound="BaseModel")


def example(text: str) -> str:
    """The last line of a command's help."""
    return f"Example: nano4m-audio {text}"


def record(outputs: Path | Sequence[Path], inputs: Iterable[Path]) -> None:
    """Note what ``outputs`` were made from; the last thing that a command does."""
    from nano4m_audio import lineage

    lineage.record(outputs, inputs)


def stage_settings(
    model: type[_Model], stage: str, text: str | None, results: paths.Results, **given: str
) -> _Model:
    """The ``--settings`` of a stage, validated; see ``Settings`` for a stage that is given none.

    ``given`` are values from the command's arguments, which the settings may repeat.
    """
    from nano4m_audio.config.parsing import parse, read_json
    from nano4m_audio.settings_files import last_settings

    if text is None and (file := last_settings(results.settings, stage)):
        print(f"{stage}: settings of {file}", file=sys.stderr)
        text = str(file)
    values = read_json(text or "{}", "--settings")
    if given and isinstance(values, dict):
        values = {**given, **values}
    for key, value in given.items():
        if isinstance(values, dict) and values[key] != value:
            raise UserError(f"--settings: {key} = {values[key]!r}, and {value} was asked for")
    return parse(model, values, "--settings")


def of_each(
    modalities: Sequence[str],
    known: Collection[str],
    settings: Sequence[str] | None,
    dtypes: Sequence[str] | None,
) -> Iterator[tuple[str, str | None, str]]:
    """Each modality with what its stage is told (None: nothing) and the dtype of its models.

    Raises UserError for a name that is not ``known`` or comes twice, and where some of them have
    settings or a dtype and others have not.
    """
    n = len(modalities)
    told: list[str | None] = [*settings] if settings else [None] * n
    kinds = list(dtypes or DTYPES[:1])
    kinds = kinds * n if len(kinds) == 1 else kinds
    for given, names in ((modalities, known), (kinds, DTYPES)):
        for name in given:
            if name not in names:
                hint = did_you_mean(name, names)
                raise UserError(f"{name!r} is not one of {', '.join(names)}{hint}")
    if twice := sorted({name for name in modalities if modalities.count(name) > 1}):
        raise UserError(f"{', '.join(twice)}: asked for more than once")
    for option, count in (("--settings", len(told)), ("--dtype", len(kinds))):
        if count != n:
            raise UserError(f"{option}: given {count} times, for {n} modalities")
    return parts(list(zip(modalities, told, kinds, strict=True)))


def read_config(files: Sequence[Path], more: Mapping[str, Any] | None = None) -> Config:
    """Config files, each laid over those before it, and over the demo's as in a run, and ``more``
    values over all of them."""
    from nano4m_audio.config.reading import load_config

    own, checkout = Path("config.yaml"), Path(__file__).parents[3] / "config.yaml"
    demo = next((path for path in (own, checkout) if path.is_file()), None)
    return load_config(*files, demo=demo, more=more)


def compute_options(device: str, dtype: str, threads: int) -> Compute:
    """Where and how backends run."""
    from nano4m_audio.backends.compute import Compute

    return Compute(device, dtype, threads)
