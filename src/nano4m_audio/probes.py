"""The table of probes: one row, and one module of the same name, per question to a trained run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Probe:
    """``evaluate/<name>.py`` has ``compute(inputs) -> dict`` with a list "metrics".

    ``title`` and ``words`` stand above its metrics in the report, ``baseline`` says in a verdict
    what they are compared with; ``strips``: its shares are drawn, too. ``models`` are the config
    keys of the backends that it runs beside the trained model; ``uses_classes``: it reads what the
    config says of the classes.
    """

    name: str
    title: str
    words: str
    baseline: str
    strips: bool = False
    models: tuple[str, ...] = ()
    uses_classes: bool = False


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
        ),
        Probe(
            "structure",
            title="Structure from pictures",
            words="Tokens of another modality predicted from RGB alone. The baseline is the most "
            "frequent training token of each position.",
            baseline="the most frequent token of each position",
            strips=True,
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
    )
}
