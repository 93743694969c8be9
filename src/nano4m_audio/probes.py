"""The table of probes: one row, and one module of the same name, per question to a trained run."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from nano4m_audio.modalities import LABELS

#: What probes read beside the tokens -> the tables that have it; evaluate/beside.py has a function
#: for each.
READ_TABLES = {
    "map_keys": tuple(f"labels/{name}" for name in LABELS),
    "sound_keys": ("selected",),
    "score_keys": ("scores/audio", "scores/visual"),
    "nearest_train": (),  # of the split
}


@dataclass(frozen=True)
class Probe:
    """``evaluate/<name>.py`` has ``compute(inputs) -> dict`` with a list "metrics".

    ``title`` and ``words`` stand above its metrics in the report, ``baseline`` says in a verdict
    what they are compared with; ``strips``: its shares are drawn, too. ``first`` matches the names
    of the metrics that are shown before the others: all, where it is empty. What else its JSON has
    is shown by a template ``metrics_<name>.html.j2`` of the report. ``models`` are the config keys
    of the backends that it runs beside the trained model; ``uses_classes``: it reads what the
    config says of the classes. ``reads`` names what it reads of the results folder beside the
    tokens (READ_TABLES). Of each of ``needs`` a run must have at least one modality.
    """

    name: str
    title: str
    words: str
    baseline: str
    strips: bool = False
    first: str = ""
    models: tuple[str, ...] = ()
    uses_classes: bool = False
    reads: tuple[str, ...] = ()
    needs: tuple[tuple[str, ...], ...] = ()

    def lacks(self, modalities: Collection[str]) -> str:
        """Why a run of these modalities cannot be asked, in a sentence; "" where it can."""
        lacking = [own for own in self.needs if not set(own) & set(modalities)]
        if not lacking:
            return ""
        return f"Not measured: the run has no {', no '.join(' or '.join(own) for own in lacking)}."


#: What was recorded of a clip; all else is made from it.
_RECORDED = ("audio", "rgb")

PROBES = {
    probe.name: probe
    for probe in (
        Probe(
            "cross_entropy",
            title="Cross-entropy",
            words="Nats per masked token, lower is better; the mean over clips, each of which is "
            "asked for every modality under several fixed masks. Chance is a uniform guess over "
            "the vocabulary. The baseline is the lowest of several counts of the training clips: "
            "of each token at all, in its codebook, at its position, and after the token before "
            "it where that is an input.",
            baseline="the token frequencies of the training clips",
        ),
        Probe(
            "classes",
            title="Naming the class",
            words="Every caption is scored whole, given only the named source. Chance is a blind "
            "draw of k out of all classes. The baseline always names the most frequent classes of "
            "the training clips: where classes are unequal that is the better guess, and the one "
            "to beat.",
            baseline="guessing the most frequent classes",
            strips=True,
            first=r"(first_token_)?(audio|rgb|all)_top1$",
            needs=(("caption",),),
        ),
        Probe(
            "structure",
            title="Structure from pictures",
            words="Tokens of another modality predicted from RGB alone, and the errors of the maps "
            "that they decode to, where less is better. The baseline is the most frequent training "
            "token of each position, the ceiling the round trip of the true tokens.",
            baseline="the most frequent token of each position",
            strips=True,
            models=tuple(f"tokenize.{name}" for name in LABELS),
            reads=("map_keys",),
            needs=(("rgb",), LABELS),
        ),
        Probe(
            "memorisation",
            title="Learnt by heart",
            words="The rest of a sound or a picture, from its other tokens alone, of clips that "
            "the model was trained on and of clips that it never saw, as many of each. A gap above "
            "0, with its whole interval, says that training clips are known better; of a gap, less "
            "is better. The baseline counts tokens of the same training clips, and has a gap, too.",
            baseline="the token frequencies of the training clips",
            first=r".*gap$",
            needs=(_RECORDED,),
        ),
        Probe(
            "leak",
            title="What leaks are worth",
            words="Evaluated clips that have a near copy among the training clips, against the "
            "others. Of an effect, more means that leaked clips flatter the model. Leaked is what "
            "is of a training clip's video, a copy of it, or more alike to it in picture and sound "
            "than is usual between different videos.",
            baseline="guessing by frequency",
            reads=("nearest_train",),
            needs=(_RECORDED,),
        ),
        Probe(
            "audio_fidelity",
            title="What the sound tokenizer keeps",
            words="The sounds of evaluated clips, encoded and decoded by the tokenizer, without "
            "the trained model: the ceiling of every sound that it makes. The baseline compares "
            "each sound with the round trip of another clip.",
            baseline="the round trip of another clip",
            models=("tokenize.audio", "score.audio"),
            uses_classes=True,
            reads=("sound_keys",),
        ),
        Probe(
            "gain",
            title="What one modality says of another",
            words="Nats per token of the same targets of a clip under different inputs; each "
            "difference is paired by clip. Without a source minus the clip's own source is the "
            "gain; the source of another class minus that of the same class is what it says of "
            "the class; the same class minus the clip's own is what it says beyond the class. "
            "These are costs: a model that believes a wrong source pays more than a right one "
            "could ever tell. The baseline is the lower of what the targets cost without a source "
            "and what counts of the training clips lose on them.",
            baseline="no source, or counts of the training clips",
        ),
        Probe(
            "mismatch",
            title="Asked as trained?",
            words="Nats per token of the same targets given one, two or more complete other "
            "modalities, and how often training showed so few: masks that split an input among "
            "all modalities leave a model untrained for the question it is asked here. The "
            "baseline is the token frequencies of the training clips on the same targets.",
            baseline="the token frequencies of the training clips",
        ),
        Probe(
            "external",
            title="Sounds and pictures that it makes",
            words="Made from one modality of every evaluated clip, decoded, and judged by models "
            "that know nothing of this run. A tag is the tagger's, a prompt the picture scorer's, "
            "imagenet the classifier's. Real: the clip's own tokens, decoded, which no model of "
            "tokens can better. The baseline is what the judge says of real clips of other "
            "classes; of distances, real sounds. KAD and FAD are distances of embeddings: lower is "
            "nearer to real sounds, and only values of equal n, embedder and reference compare.",
            baseline="real clips of other classes",
            strips=True,
            models=(
                "score.audio",
                "score.visual",
                "tokenize.audio",
                "tokenize.rgb",
                "evaluate.audio_embedder",
                "evaluate.image_classifier",
            ),
            uses_classes=True,
            first=r".*_top1$|kad_",
            needs=(("caption",), _RECORDED),
        ),
        Probe(
            "retrieval",
            title="Finding a clip by another modality",
            words="Encodings of one modality alone, averaged over its tokens and standardised by "
            "the training clips; neighbours by cosine among clips of which each stands for a "
            "group. R@k is the share of clips whose own other side is among the k nearest, of "
            "equally near ones the share that is; chance is k of all. Class precision is the share "
            "of the same class among the nearest five of other groups.",
            baseline="an untrained network",
            first=r"(audio_to_(rgb|depth)|(rgb|depth)_to_audio)_of_200_",
        ),
        Probe(
            "linear",
            title="Class by a linear layer",
            words="Logistic regression on frozen features, its penalty chosen on held-out groups "
            "of the training clips. Balanced accuracy weighs all classes alike. The baseline reads "
            "a histogram of the same token ids: what it reaches needs no trained network.",
            baseline="a histogram of the tokens",
            reads=("score_keys",),
            first=r".*_balanced_accuracy$",
        ),
    )
}

#: The probes that score tokens, and those that also run tokenizers and other models.
SCORED = tuple(name for name, probe in PROBES.items() if not probe.models)
DECODED = tuple(name for name, probe in PROBES.items() if probe.models)
