"""The schema of config.yaml: every key with its meaning, unit and range.

reading.py reads values into these models and turns what is wrong into one line.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import (
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from nano4m_audio.backends.registry import TRAINED, get_spec
from nano4m_audio.config.base import Section
from nano4m_audio.config.curate import Score, Split, Verdict
from nano4m_audio.config.experiment import Experiment, Grid, run_keys
from nano4m_audio.config.grids import expand
from nano4m_audio.config.sources import Candidates, Files
from nano4m_audio.config.tokenizers import (
    PICTURES,
    TOKENIZERS,
    Mini,
    Quality,
    Tokenize,
    Tokenizer,
)
from nano4m_audio.errors import UserError, did_you_mean

WINDOW_S = 81920 / 24000
"""Length of the audio window: 256 codec frames of 320 samples at 24 kHz, 3.4133 s."""

MODALITIES = ("rgb", "audio", "depth", "normals", "caption")

#: Config key -> kind of backend in the registry.
BACKEND_KEYS = {
    "score.audio": "audio_tagger",
    "score.visual": "image_text_scorer",
    "score.speech": "speech_detector",
    "label.depth": "depth_estimator",
    "label.normals": "normal_estimator",
    "tokenize.rgb": "rgb_tokenizer",
    "tokenize.depth": "depth_tokenizer",
    "tokenize.normals": "normal_tokenizer",
    "tokenize.audio": "audio_tokenizer",
    "tokenize.caption": "text_tokenizer",
}

#: Score -> the threshold in the verdict section that reads it.
THRESHOLDS = {"audio": "audio_min", "visual": "visual_min", "speech": "voiced_max"}


DType = Literal["float32", "bfloat16", "float16"]


class DTypes(Section):
    """Floating-point type of the models of each stage. One name instead is meant for all stages. A
    model whose output would not stay close to float32 stays in float32."""

    score: DType = Field("float32", description="type in which models score")
    label: DType = Field("float32", description="type in which models label")
    tokenize: DType = Field("float32", description="type in which models tokenize")


class Compute(Section):
    """Where pretrained models run. The demo's own small models always run on the CPU."""

    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        "auto", description="auto takes a GPU where the job finds one; changes no content key"
    )
    dtype: DTypes = DTypes()

    @field_validator("dtype", mode="before")
    @classmethod
    def _one_for_all(cls, value: Any) -> Any:
        return dict.fromkeys(DTypes.model_fields, value) if isinstance(value, str) else value


class Decode(Section):
    """How a file becomes frames and one audio track."""

    frames_per_s: float = Field(3.0, ge=3, le=30, description="frames kept per second of clip")
    short_side_px: int = Field(256, ge=224, le=1080, description="short side of a kept frame [px]")
    jpeg_quality: int = Field(92, ge=50, le=100, description="JPEG quality of a kept frame")
    max_clip_s: float = Field(30.0, ge=4, le=600, description="decode at most this much [s]")
    memory_max_mb: int = Field(
        2000, ge=256, le=1_000_000, description="memory that one file may take to decode [MB]"
    )
    cpu_max_s: float = Field(
        300.0, ge=1, le=86_400, description="processor time that one file may take to decode [s]"
    )
    wall_max_s: float = Field(
        900.0, ge=1, le=86_400, description="time after which a file that hangs is given up [s]"
    )


class DecodeFiles(Decode):
    """What the stage ``decode`` is told."""

    files: Files = Files()


class Label(Section):
    """Pseudo-labels of the keyframes."""

    depth: str = Field("mini", description="depth estimator")
    normals: str = Field("mini", description="normal estimator")


class Evaluate(Section):
    """How probes are computed."""

    split: Literal["val", "test"] = Field("test", description="which split to evaluate")
    bootstrap: int = Field(1000, ge=100, le=100_000, description="bootstrap resamples")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="width of the interval")
    keyframes: int = Field(3, ge=1, le=10, description="keyframes per clip in picture probes")
    seed: int = Field(0, ge=0, description="seed of masks and resampling")


class Report(Section):
    """The page at the end."""

    title: str = Field("nano4M-Audio", max_length=200, description="title of the report")
    experiment: str = Field("base", description="experiment whose curves and probes lead")
    examples: int = Field(12, ge=0, le=100, description="clips shown with pictures and sound")


class Config(Candidates):
    """The whole file."""

    compute: Compute = Compute()
    decode: Decode = Decode()
    score: Score = Score()
    verdict: Verdict = Verdict()
    split: Split = Split()
    label: Label = Label()
    tokenize: Tokenize = Tokenize()
    tokenizers: dict[str, Tokenizer] = Field(
        TOKENIZERS, description="tokenizers to train, by name; used as trained:NAME"
    )
    quality: Quality = Quality()
    experiments: dict[str, Experiment] = Field({"base": Experiment()}, description="runs by name")
    grids: dict[str, Grid] = Field({}, description="studies by name: experiments of all values")
    evaluate: Evaluate = Evaluate()
    report: Report = Report()
    mini: Mini = Mini()

    @model_validator(mode="before")
    @classmethod
    def _with_grids(cls, values: Any) -> Any:
        """Add the experiments of the grids, unless they are malformed: fields say that better."""
        if not isinstance(values, dict) or not values.get("grids"):
            return values
        experiments = values.get("experiments", {"base": {}})
        try:
            grids = TypeAdapter(dict[str, Grid]).validate_python(values["grids"])
            TypeAdapter(dict[str, dict[str, Any]]).validate_python(experiments)
        except ValidationError:
            return values
        plain = {name: grid.model_dump() for name, grid in grids.items()}
        return {**values, "experiments": expand(experiments, plain, run_keys())}

    @field_validator("experiments", "grids", "tokenizers")
    @classmethod
    def _names(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in value:
            if not name.replace("_", "").isalnum() or not name.isascii():
                raise ValueError(f"{name!r}: names of letters, digits and _ only")
            if len(name) > 150:  # names of files hold it
                raise ValueError(f"{name[:30]!r}...: names of at most 150 characters")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        for key, kind in BACKEND_KEYS.items():
            name = self.backend(key)
            if name is not None:
                self._check_backend(kind, name, key)
        for picture in PICTURES:
            key = f"tokenize.{picture}"
            for name in getattr(self.quality, picture):
                self._check_backend(BACKEND_KEYS[key], name, f"quality.{picture}")
        for key in ("audio", "visual", "speech"):
            threshold = THRESHOLDS[key]
            if (
                self.backend(f"score.{key}") is None
                and getattr(self.verdict, threshold) is not None
            ):
                raise ValueError(
                    f"verdict.{threshold} needs the scores of score.{key}.backend, which is null: "
                    "set both or neither"
                )
        if not self.experiments:
            raise ValueError("at least one experiment")
        if self.report.experiment not in self.experiments:
            raise ValueError(
                f"report.experiment = {self.report.experiment!r} is not in experiments"
                f"{did_you_mean(self.report.experiment, self.experiments)}"
            )
        return self

    def _check_backend(self, kind: str, name: str, key: str) -> None:
        """Raise ValueError for a name that ``key`` cannot select."""
        _as_value_error(get_spec, kind, name, key)
        if not name.startswith(TRAINED):
            return
        wanted, modality = name.removeprefix(TRAINED), key.partition(".")[2]
        if wanted not in self.tokenizers:
            hint = did_you_mean(wanted, self.tokenizers)
            raise ValueError(f"{key} = {name!r}: {wanted!r} is not in tokenizers{hint}")
        found = self.tokenizers[wanted].modality
        if found != modality:
            raise ValueError(f"{key} = {name!r}: tokenizers.{wanted} is for {found}")

    def vocab_size(self, modality: str) -> int:
        """Size of the vocabulary of the tokenizer that ``modality`` selects."""
        key = f"tokenize.{modality}"
        name = self.backend(key) or ""
        if name.startswith(TRAINED):
            return self.tokenizers[name.removeprefix(TRAINED)].vocab_size
        return get_spec(BACKEND_KEYS[key], name).vocab_size

    def measured_tokenizers(self, picture: str) -> list[str]:
        """The tokenizers of a picture modality whose fidelity is measured: first the one in use."""
        selected = self.backend(f"tokenize.{picture}") or ""
        return list(dict.fromkeys([selected, *getattr(self.quality, picture)]))

    def backend(self, key: str) -> str | None:
        """The name that ``key`` ("score.audio", "tokenize.rgb", ...) selects."""
        section, _, name = key.partition(".")
        value = getattr(getattr(self, section), name)
        return value if value is None or isinstance(value, str) else value.backend

    def dtype(self, key: str) -> str:
        """The floating-point type asked for in the stage of ``key`` ("score.audio", ...)."""
        return getattr(self.compute.dtype, key.partition(".")[0])

    def backends(self) -> dict[str, str]:
        """Every backend in use, by config key."""
        return {key: name for key in BACKEND_KEYS if (name := self.backend(key)) is not None}


def _as_value_error(check: Any, *arguments: str) -> None:
    """Run a check that raises UserError so that pydantic sees a ValueError."""
    try:
        check(*arguments)
    except UserError as error:
        raise ValueError(str(error)) from None
