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
        ),
    )
}
