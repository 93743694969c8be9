"""The schema of config.yaml: every key with its meaning, unit and range.

reading.py reads values into these models and turns what is wrong into one line.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, TypeAdapter, ValidationError, field_validator, model_validator

from nano4m_audio.backends.registry import TRAINED, BackendSpec, get_spec, shares_network
from nano4m_audio.config.curate import Score, Split, Verdict
from nano4m_audio.config.experiment import Experiment, Grid, run_keys
from nano4m_audio.config.grids import expand
from nano4m_audio.config.sources import Candidates, Files
from nano4m_audio.config.tokenizers import (
    TOKENIZERS,
    Label,
    LabelSettings,
    Mini,
    Quality,
    QualitySettings,
    Semantic,
    Tokenize,
    Tokenizer,
)
from nano4m_audio.errors import UserError, did_you_mean
from nano4m_audio.filters import FILTERS
from nano4m_audio.modalities import IMAGES, LABELS, MODALITIES
from nano4m_audio.nano4m.sampling import Sampling
from nano4m_audio.section import Section

#: Config key -> kind of backend in the registry.
BACKEND_KEYS = {
    "score.audio": "audio_tagger",
    "score.visual": "image_text_scorer",
    "score.speech": "speech_detector",
    **{f"label.{name}": MODALITIES[name].estimator for name in LABELS},
    **{f"tokenize.{name}": row.tokenizer for name, row in MODALITIES.items()},
    "evaluate.audio_embedder": "audio_embedder",
    "evaluate.image_classifier": "image_classifier",
}


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


class Evaluate(Section):
    """How probes are computed."""

    split: Literal["val", "test"] = Field("test", description="which split to evaluate")
    bootstrap: int = Field(1000, ge=100, le=100_000, description="bootstrap resamples")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="width of the interval")
    keyframes: int = Field(3, ge=1, le=10, description="keyframes per clip in picture probes")
    seed: int = Field(0, ge=0, description="seed of masks and resampling")
    decoded: int = Field(
        1000,
        ge=0,
        description="clips whose predictions are decoded to pictures and sounds, at most; the "
        "diffusion decoders of 4M take seconds a picture on a CPU. 0: none",
    )
    audio_embedder: str | None = Field(
        None, description="model whose embeddings of sounds are compared; null: no such comparison"
    )
    image_classifier: str | None = Field(
        None, description="model that names generated pictures; null: they are not named"
    )


class EvaluateSettings(Evaluate):
    """What the stage ``evaluate`` is told: also the backends in use, by config key, and what the
    config says of each class."""

    backends: dict[str, str] = {}
    classes: dict[str, dict[str, Any]] = {}


class Generate(Sampling):
    """What the report shows of a trained model: clips of the evaluated split, made from others of
    their modalities."""

    clips: int = Field(6, ge=0, le=100, description="clips for which the report shows generations")


class GenerationsSettings(Generate):
    """What the stage ``generations`` is told: also the split, and the tokenizers by config key."""

    split: Literal["val", "test"] = "test"
    backends: dict[str, str] = {
        f"tokenize.{name}": row.default for name, row in MODALITIES.items() if row.default
    }


class Report(Section):
    """The page at the end."""

    title: str = Field("nano4M-Audio", max_length=200, description="title of the report")
    experiment: str = Field("base", description="experiment whose curves and probes lead")
    examples: int = Field(12, ge=0, le=100, description="clips shown with pictures and sound")
    browser: int | None = Field(
        2000,
        ge=0,
        description="clips that have pictures and sound in clips.html, at most; all others are "
        "listed there; null: all, 0: no such page",
    )


class ClipMediaSettings(Section):
    """What the stage ``clip_media`` is told: how many clips, and what makes one worth a look."""

    clips: int | None = 2000
    verdict: Verdict = Verdict()
    truth: str | None = None


class ClipsPageSettings(ClipMediaSettings):
    """What the stage ``clips_page`` is told: also the caption of every class."""

    title: str = "nano4M-Audio"
    captions: dict[str, Any] = {}


class Study(Section):
    """What ``snakemake study`` asks of the experiments: that of ``report.experiment`` first, then
    what each lever changes in it. Runs that differ by their seed alone are taken together."""

    levers: dict[str, str] = Field({}, description="experiment -> what it changes, in words")


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
    semantic: dict[str, Semantic] = Field(
        {"audio_semantic": Semantic()},
        description="tokenizers of the meaning of sound, by name; used as trained:NAME",
    )
    quality: Quality = Quality()
    experiments: dict[str, Experiment] = Field({"base": Experiment()}, description="runs by name")
    grids: dict[str, Grid] = Field({}, description="studies by name: experiments of all values")
    evaluate: Evaluate = Evaluate()
    generate: Generate = Generate()
    report: Report = Report()
    study: Study = Study()
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

    @field_validator("experiments", "grids", "tokenizers", "semantic")
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
        if both := self.tokenizers.keys() & self.semantic.keys():
            raise ValueError(f"semantic.{min(both)}: tokenizers has one of this name, too")
        for image in IMAGES:
            for name in getattr(self.quality, image):
                self._check_backend(MODALITIES[image].tokenizer, name, f"quality.{image}")
        for row in FILTERS:
            if self.verdict.is_on(row) and row.score and self.backend(row.score) is None:
                raise ValueError(
                    f"verdict.{row.key} needs the scores of {row.score}.backend, which is null: "
                    "set both or neither"
                )
        for name in self.verdict.per_class:
            if self.classes and name not in self.classes:
                hint = did_you_mean(name, self.classes)
                raise ValueError(f"verdict.per_class: there is no class {name!r}{hint}")
        if not self.experiments:
            raise ValueError("at least one experiment")
        audio = self.tokenizer("audio")
        for name, experiment in self.experiments.items():
            wanted = experiment.data.audio_tokens or audio.n_tokens
            if wanted > audio.n_tokens or wanted % audio.n_codebooks:
                raise ValueError(
                    f"experiments.{name}.data.audio_tokens = {wanted}: at most {audio.n_tokens} "
                    f"and a multiple of {audio.n_codebooks}, "
                    f"with tokenize.audio = {self.tokenize.audio}"
                )
        for name in self.study.levers:
            if name not in self.experiments:
                hint = did_you_mean(name, self.experiments)
                raise ValueError(f"study.levers: {name!r} is not in experiments{hint}")
        if self.report.experiment not in self.experiments:
            raise ValueError(
                f"report.experiment = {self.report.experiment!r} is not in experiments"
                f"{did_you_mean(self.report.experiment, self.experiments)}"
            )
        return self

    def _check_backend(self, kind: str, name: str, key: str) -> None:
        """Raise ValueError for a name that ``key`` cannot select."""
        try:
            get_spec(kind, name, key)
        except UserError as error:
            raise ValueError(str(error)) from None
        if not name.startswith(TRAINED):
            return
        wanted, modality = name.removeprefix(TRAINED), key.partition(".")[2]
        section = "semantic" if modality == "semantic" else "tokenizers"
        known = getattr(self, section)
        if wanted not in known:
            hint = did_you_mean(wanted, known)
            raise ValueError(f"{key} = {name!r}: {wanted!r} is not in {section}{hint}")
        found = "semantic" if section == "semantic" else known[wanted].modality
        if found != modality:
            raise ValueError(f"{key} = {name!r}: tokenizers.{wanted} is for {found}")

    @property
    def modalities(self) -> tuple[str, ...]:
        """What every run has, and the optional modalities that have a tokenizer."""
        return tuple(name for name in MODALITIES if getattr(self.tokenize, name) is not None)

    def tokenizer(self, modality: str) -> BackendSpec:
        """What is known of the tokenizer that ``modality`` selects."""
        name = getattr(self.tokenize, modality)
        spec = get_spec(MODALITIES[modality].tokenizer, name)
        if not name.startswith(TRAINED):
            return spec
        wanted = name.removeprefix(TRAINED)
        if modality == "semantic":
            own = self.semantic[wanted]
            return replace(spec, vocab_size=own.vocab_size, n_tokens=own.n_tokens)
        return replace(spec, vocab_size=self.tokenizers[wanted].vocab_size)

    def score_settings(self, what: str) -> dict[str, Any]:
        """What the score ``what`` is told; of the classes no more than it reads."""
        section = getattr(self.score, what).model_dump()
        details = {"audio": ["audioset"], "visual": ["prompts", "negatives"]}.get(what)
        return section if details is None else {**section, "classes": self.class_details(*details)}

    def label_settings(self, modality: str) -> LabelSettings:
        """What the stage label is told of a modality; the first of those whose maps one network
        makes is told of the others."""
        chosen = {name: (MODALITIES[name].estimator, getattr(self.label, name)) for name in LABELS}
        others = [name for name in LABELS if shares_network(chosen[name], chosen[modality])]
        first = all(LABELS.index(modality) < LABELS.index(name) for name in others)
        beside = {name: chosen[name][1] for name in others if first}
        return LabelSettings(modality=modality, backend=chosen[modality][1], beside=beside)

    def tokenize_settings(self, modality: str) -> dict[str, Any]:
        """What the stage tokenize is told of a modality; captions alone depend on classes."""
        values = {"modality": modality, "backend": getattr(self.tokenize, modality)}
        if MODALITIES[modality].kind == "text":
            values["caption_template"] = self.tokenize.caption_template
            values["classes"] = self.class_details("caption")
        return values

    def quality_settings(self, modality: str, tokenizer: str) -> QualitySettings:
        """What is measured of a tokenizer, and how."""
        sizes = self.quality.model_dump(include={"frames", "examples"})
        intervals = self.evaluate.model_dump(include={"bootstrap", "confidence", "seed"})
        return QualitySettings(modality=modality, backend=tokenizer, **sizes, **intervals)

    def evaluate_settings(self) -> EvaluateSettings:
        """What the probes are told."""
        return EvaluateSettings(
            **self.evaluate.model_dump(),
            backends=self.backends(),
            classes=self.class_details("audioset", "caption", "imagenet", "negatives", "prompts"),
        )

    def generations_settings(self) -> GenerationsSettings:
        """What the stage ``generations`` is told."""
        tokenizers = {f"tokenize.{name}": getattr(self.tokenize, name) for name in self.modalities}
        return GenerationsSettings(
            **self.generate.model_dump(), split=self.evaluate.split, backends=tokenizers
        )

    def clip_media_settings(self, results: Path) -> ClipMediaSettings:
        """What the stage ``clip_media`` is told."""
        truth = self.chosen_source.folder(results).truth
        return ClipMediaSettings(
            clips=self.report.browser, verdict=self.verdict, truth=str(truth) if truth else None
        )

    def clips_page_settings(self, results: Path) -> ClipsPageSettings:
        """What the stage ``clips_page`` is told."""
        return ClipsPageSettings(
            **self.clip_media_settings(results).model_dump(),
            title=self.report.title,
            captions=self.tokenize_settings("caption"),
        )

    def measured_tokenizers(self, modality: str) -> list[str]:
        """The tokenizers of an image modality whose fidelity is measured: first the one in use."""
        selected = getattr(self.tokenize, modality)
        return list(dict.fromkeys([selected, *getattr(self.quality, modality)]))

    def backend(self, key: str) -> str | None:
        """The name that ``key`` ("score.audio", "tokenize.rgb", ...) selects."""
        section, _, name = key.partition(".")
        value = getattr(getattr(self, section), name)
        return value if value is None or isinstance(value, str) else value.backend

    def dtype(self, key: str) -> str:
        """The floating-point type asked for in the stage of ``key`` ("score.audio", ...)."""
        return getattr(self.compute.dtype, key.partition(".")[0], "float32")

    def backends(self) -> dict[str, str]:
        """Every backend in use, by config key."""
        return {key: name for key in BACKEND_KEYS if (name := self.backend(key)) is not None}
