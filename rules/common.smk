"""What all wings share: the validated config, the shards, and the params of the stages."""

import sys
from pathlib import Path

from nano4m_audio.acquire.listing import check_runnable, check_source, folder_digest
from nano4m_audio.acquire.retry import attempt
from nano4m_audio.acquire.source_record import check_record, write_record
from nano4m_audio.backends.registry import (
    BackendSpec,
    TRAINED,
    TRAINED_WEIGHTS,
    get_spec,
    identity,
)
from nano4m_audio.config import schema
from nano4m_audio.config.reading import parse_workflow
from nano4m_audio.errors import UserError
from nano4m_audio.experiments import slow_choices
from nano4m_audio.lineage import outdated
from nano4m_audio.prerequisites import check_weights
from nano4m_audio.settings_files import SettingsFiles
from nano4m_audio.tables import shard_names
from nano4m_audio.tokenizers.names import (
    backend_name,
    file_name,
    from_file_name,
    trained_folder,
)
from nano4m_audio.versions import STAGE_VERSIONS


def or_exit(check, *arguments):
    """What ``check`` returns; its UserError becomes one line instead of a traceback."""
    try:
        return check(*arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


RESULTS = Path("results")
SETTINGS = SettingsFiles(RESULTS / "settings")
CONFIG = or_exit(parse_workflow, config)
or_exit(check_source, CONFIG)
if workflow.output_settings.dryrun:
    or_exit(check_record, CONFIG, RESULTS)


onstart:  # not reached by a dry run, nor by --unlock and its like, which concern no source
    or_exit(check_record, CONFIG, RESULTS)
    or_exit(check_runnable, CONFIG)
    or_exit(check_weights, planned_uses())
    write_record(CONFIG, RESULTS)
    SETTINGS.write()
    for line in slow_choices(CONFIG):
        print(f"note: {line}", file=sys.stderr)


SHARDS = shard_names(CONFIG.n_shards)
CLASSES = ",".join(CONFIG.classes)
FROM_BARNYARD = CONFIG.source == "barnyard"
FOLDER = {
    "barnyard": schema.Folder(root="results/barnyard", truth_csv="truth.csv"),
    "folder": CONFIG.folder,
    "web": schema.Folder(root="results/web", clips_csv=None),
}[CONFIG.source]
CLIPS_CSV = f"{FOLDER.root}/{FOLDER.clips_csv}" if FOLDER.clips_csv else ""
LINKS = "follow" if FOLDER.follow_links else "inside"
TRUTH = f"{FOLDER.root}/{FOLDER.truth_csv}" if FOLDER.truth_csv else ""


wildcard_constraints:
    shard=r"\d{4}",
    modality="|".join(schema.MODALITIES),
    what="depth|normals",
    experiment=r"\w+",
    probe="cross_entropy|classes|structure",


def backend(key, name=None):
    """The backend that a config key selects (or ``name``), and what identifies its output.

    Weights that are trained here do not exist yet: they are an input file of the job instead.
    """
    name = name or CONFIG.backend(key)
    if name and name.startswith(TRAINED):
        return backend_name(name, RESULTS), name
    kind = schema.BACKEND_KEYS[key]
    return name, name and or_exit(identity, kind, name, CONFIG.dtype(key))


def trained_weights(name):
    """The weights of a tokenizer that is trained here; nothing for other backends."""
    if not name.startswith(TRAINED):
        return []
    return str(trained_folder(name.removeprefix(TRAINED), RESULTS) / TRAINED_WEIGHTS)


def spec(key, name=None):
    """What the registry knows of the backend that a config key selects; a filter may have none."""
    name = name or CONFIG.backend(key)
    return get_spec(schema.BACKEND_KEYS[key], name) if name else BackendSpec("")


def dtype(key, name=None):
    """The floating-point type in which the backend of a config key runs."""
    return spec(key, name).dtype(CONFIG.dtype(key))


def gpus(*keys):
    """How many GPUs a job asks for that runs the backends of these config keys: one or none."""
    return int(CONFIG.compute.device != "cpu" and any(spec(key).gpu for key in keys))


def literally(value):
    """A function that returns ``value``, for params: in plain text {braces} mean wildcards."""
    return lambda wildcards: value


def as_input(path):
    """A file of the user's as input. Snakemake cannot name one with braces in its path."""
    return [] if not path or "{" in path else path


def planned_uses():
    """Config key and name of every backend that the planned jobs load; not of those that are done."""
    uses = []
    for job in workflow.dag.needrun_jobs():
        stage, _, what = job.rule.name.partition("_")
        values = dict(job.wildcards.items())
        name = None
        if stage == "score" and what != "fingerprints":
            key = f"score.{what}"
        elif stage == "label":
            key = f"label.{values['what']}"
        elif stage == "tokenize":
            key = f"tokenize.{values['modality']}"
        elif job.rule.name == "tokenizer_quality":
            key = f"tokenize.{values['picture']}"
            name = from_file_name(values["measured"])
        else:
            continue
        if name := name or CONFIG.backend(key):
            uses.append((key, name))
    return uses


def mistrust(wildcards):
    """No input: marks, when the graph is built, every file that is not what its inputs make of it.

    Snakemake does not miss a deleted intermediate file, such as the output of a job that failed,
    nor another one that is older than what was made from it.
    """
    if workflow.is_main_process:
        workflow.dag.forcefiles.update(map(str, or_exit(outdated, RESULTS)))
    return []


def token_source(wildcards):
    """Depth and normals are tokenized from their label tables, the others from the clips."""
    if wildcards.modality in ("depth", "normals"):
        return f"results/labels/{wildcards.modality}/{wildcards.shard}.parquet"
    return f"results/clips/{wildcards.shard}.parquet"


def picture_tables(modality):
    """The tables of all shards that say which pictures of a modality there are."""
    tables = ["results/selected/{shard}.parquet"]
    tables += (
        [] if modality == "rgb" else [f"results/labels/{modality}/{{shard}}.parquet"]
    )
    return expand(tables, shard=SHARDS)


def quality_files(modality, names):
    """The measurements of these tokenizers."""
    folder = f"results/quality/{modality}"
    return [f"{folder}/{file_name(name)}.json" for name in names]


def measured_backend(wildcards):
    """The backend that a measurement is about, and its identity."""
    return backend(f"tokenize.{wildcards.picture}", from_file_name(wildcards.measured))
