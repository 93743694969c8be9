"""The table of probes: one row, and one module of the same name, per question to a trained run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Probe:
    """``evaluate/<name>.py`` has ``compute(inputs) -> dict`` with a list "metrics".

    ``title`` and ``words`` stand above its metrics in the report, ``baseline`` says in a verdict
    what they are compared with; ``strips``: its shares are drawn, too. ``first`` matches the names
    of the metrics that are shown before the others: all, where it is empty. What else its JSON has
    is shown by a template ``probe_<name>.html.j2`` of the report. ``models`` are the config keys of
    the backends that it runs beside the trained model, ``tables`` what it reads beside the tokens;
    ``uses_classes``: it reads what the config says of the classes.
    """

    name: str
    title: str
    words: str
    baseline: str
    strips: bool = False
    first: str = ""
    models: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    uses_classes: bool = False


PROBES = {
    probe.name: probe
    for probe in (
        Probe(
            "cross_entropy",
            title="Cross-entropy",
            words="Nats per masked token, lower is better; the mean over clips, each of which is "
            "asked for every modality under several fixed masks. Chance is a uniform guess over "
            "the vocabulary. The baseline knows how often each token occurs at its position, and "
            "in its codebook, in the training clips, and nothing of the clip.",
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
            first=r"(audio|rgb|all)_top\d$|.*_top1$",
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
            tables=("scores/audio", "scores/visual"),
        ),
    )
}
