"""The version of each stage: a digest of the code that makes its values, and of its columns.

It is part of every content key and a Snakemake param: where code changes, exactly the rows that it
makes are computed again, and the jobs of these are run again.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from nano4m_audio.code_digest import code_digest
from nano4m_audio.modalities import LABELS, MODALITIES
from nano4m_audio.probes import PROBES
from nano4m_audio.tables import SCHEMAS, content_key

_MAKERS = {kind: f"tokenize.stage:_{kind}_tokens" for kind in ("image", "audio", "text")}


def _forms(modalities: Iterable[str]) -> tuple[str, ...]:
    """How the maps of these modalities are stored."""
    forms = (MODALITIES[name].form for name in modalities)
    return tuple(f"label.maps:{form.upper()}" for form in forms if form)


#: The function of each stage, and what it loads by a name that is made at run time.
STAGES: dict[str, tuple[str, ...]] = {
    "barnyard": ("barnyard.build:build",),
    "candidates": (
        "acquire.stage:list_candidates",
        "acquire.folder:list_folder",
        "acquire.lists:list_segments",
        "acquire.mirror:list_mirror",
    ),
    "fetched": ("fetch.stage:write_tables",),
    "media": ("acquire.stage:check_files",),
    "clips": ("acquire.stage:decode_clips", "acquire.child:serve"),
    "scores/audio": ("curate.score:score_audio",),
    "scores/visual": ("curate.score:score_visual",),
    "scores/speech": ("curate.score:score_speech",),
    "scores/fingerprints": ("curate.score:score_fingerprints",),
    "verdicts": ("curate.verdict:verdicts",),
    "split": ("curate.split:split_clips",),
    "proof": ("audit.proof:prove",),
    **{f"labels/{name}": ("label.stage:label_clips", *_forms([name])) for name in LABELS},
    **{
        f"tokens/{name}": ("tokenize.stage:tokenize_clips", _MAKERS[row.kind], *_forms([name]))
        for name, row in MODALITIES.items()
    },
    "tokenizers": ("tokenizers.train:train_tokenizer", *_forms(LABELS)),
    "semantic": ("tokenizers.semantic:fit_semantic",),
    "quality": ("tokenizers.quality:measure_quality", *_forms(LABELS)),
    # Not the stage around them: a training is too dear to repeat because its bookkeeping changed.
    "train": ("nano4m.train:train", "training.token_sets:read_token_sets"),
    **{
        f"evaluate/{name}": (
            "evaluate.stage:evaluate_run",
            f"evaluate.{name}:compute",
            *_forms(LABELS if "map_keys" in probe.reads else ()),
        )
        for name, probe in PROBES.items()
    },
    "generated": ("generation.shown:show_run", *_forms(LABELS)),
    "examples": ("report.examples:make_examples", *_forms(LABELS)),
    "clip_files": ("browser.media:write_clip", "browser.media:write_maps"),
    "clip_media": ("browser.stage:show_shard",),
    "clips_page": ("browser.stage:build_page", "report/templates", "report/static"),
    "experiments": ("report.experiments:build_page", "report/templates", "report/static"),
    "study": ("report.study:write_study", "report/templates/study.md.j2"),
    "release": ("release.build:build_release", "release/templates", "release/terms.yaml"),
    "report": ("report.stage:build_report", "report/templates", "report/static"),
}


@cache
def stage_version(stage: str) -> str:
    """The version of a stage, 16 hex digits."""
    columns = [[field.name, str(field.type)] for field in SCHEMAS.get(stage, ())]
    return content_key(code_digest(*STAGES[stage]), columns)[:16]
