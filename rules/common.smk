"""What all wings share: the validated config, the shards, and the params of the stages."""

import sys
from functools import cache
from pathlib import Path

from nano4m_audio.acquire.listing import folder_digest, with_folder_classes
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
from nano4m_audio.config.sources import Files
from nano4m_audio.errors import UserError
from nano4m_audio.probes import PROBES
from nano4m_audio.experiments import slow_choices
from nano4m_audio.fetch.stage import next_attempt
from nano4m_audio.journal import planned, write_plan
from nano4m_audio.lineage import outdated, settle_dates
from nano4m_audio.locks import in_use
from nano4m_audio.modalities import LABELS, MODALITIES
from nano4m_audio.paths import Results, shard_names
from nano4m_audio.shards import drop_others
from nano4m_audio.prerequisites import check_weights, heard_uses
from nano4m_audio.settings_files import SettingsFiles, last_settings, record_command
from nano4m_audio.shared_store import RUN, mark, name_run
from nano4m_audio.tokenize.names import from_file_name
from nano4m_audio.upstream import last_of
from nano4m_audio.versions import stage_version


def or_exit(check, *arguments):
    """What ``check`` returns; its UserError becomes one line instead of a traceback."""
    try:
        return check(*arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


RESULTS = Results()
SETTINGS = SettingsFiles(RESULTS.settings)
CONFIG = or_exit(parse_workflow, config)
or_exit(CONFIG.chosen_source.check)
# The jobs of a run read the workflow again: they keep to the classes that it began with.
BEGUN = (
    None
    if workflow.is_main_process
    else or_exit(last_settings, RESULTS.settings, "candidates")
)
CONFIG = or_exit(with_folder_classes, CONFIG, BEGUN)
RESULTS = Results(planned=CONFIG.modalities)
if workflow.output_settings.dryrun:
    or_exit(check_record, CONFIG, RESULTS.root)


# The run that jobs belong to, on whatever node: they look for its name in the store.
if workflow.is_main_process:
    name_run()


envvars:
    RUN,


def begin():
    """What there is to say of disk, memory and time before anything runs."""
    from nano4m_audio.upkeep.readiness import at_start

    found = at_start(CONFIG, RESULTS, workflow.resource_settings.cores or 1)
    return [*found.problems, *(fact for fact in found.facts if "memory" not in fact)]


# Holds a lock as long as this process lives: nothing is cleaned up under a run.
IN_USE = []


onstart:  # not reached by a dry run, nor by --unlock and its like, which concern no source
    or_exit(check_record, CONFIG, RESULTS.root)
    or_exit(CONFIG.chosen_source.check_runnable)
    or_exit(check_weights, planned_uses())
    notes = [*begin(), *slow_choices(CONFIG)]  # before the lock makes the store
    IN_USE.append(or_exit(in_use, RESULTS.store))
    write_record(CONFIG, RESULTS.root)
    drop_others(RESULTS)
    SETTINGS.write()
    write_plan(RESULTS, or_exit(mark, RESULTS.store), planned_jobs())
    record_command(RESULTS.settings, sys.argv)
    for line in notes:
        print(f"note: {line}", file=sys.stderr)


SHARDS = shard_names(CONFIG.n_shards)
FOLDER = CONFIG.chosen_source.folder(RESULTS.root)
LISTS = getattr(CONFIG.chosen_source, "lists", ())
if workflow.is_main_process and not workflow.output_settings.dryrun:
    sources = [Path(path) for path in (FOLDER.csv, FOLDER.truth, *LISTS) if path]
    or_exit(settle_dates, RESULTS.root, sources)
FILES = Files(
    root=FOLDER.root,
    follow_links=FOLDER.follow_links,
    fetched=CONFIG.source == "web",
    may_be_cut=CONFIG.source == "mirror",
)


wildcard_constraints:
    shard=r"\d{4}",
    modality="|".join(MODALITIES),
    experiment=r"\w+",


@cache  # asked for every job
def identity_of(key, name=None):
    """What identifies the output of the backend that a config key selects (or ``name``).

    Weights that are trained here do not exist yet: they are an input file of the job instead.
    """
    name = name or CONFIG.backend(key)
    if name and name.startswith(TRAINED):
        return f"{name}:{spec(key, name).code}"
    return name and or_exit(identity, schema.BACKEND_KEYS[key], name, CONFIG.dtype(key))


def trained_weights(name):
    """The weights of a tokenizer that is trained here; nothing for other backends."""
    if not name.startswith(TRAINED):
        return []
    return RESULTS.tokenizer(name.removeprefix(TRAINED)) / TRAINED_WEIGHTS


def probe_weights(probe):
    """The weights, trained here, of the backends that a probe runs."""
    names = [CONFIG.backend(key) for key in probe.models]
    return [
        str(path) for name in names if name for path in [trained_weights(name)] if path
    ]


def spec(key, name=None):
    """What the registry knows of the backend that a config key selects; a filter may have none."""
    name = name or CONFIG.backend(key)
    return get_spec(schema.BACKEND_KEYS[key], name) if name else BackendSpec("")


def heard_by(name):
    """What the registry knows of the features that a semantic tokenizer hears with."""
    return get_spec("sound_features", CONFIG.semantic[name].features)


@cache  # asked for every job
def dtype(key, name=None):
    """The floating-point type in which the backend of a config key runs."""
    return spec(key, name).dtype(CONFIG.dtype(key))


@cache  # asked for every job
def gpus(*keys):
    """How many GPUs a job asks for that runs the backends of these config keys: one or none."""
    return int(CONFIG.compute.device != "cpu" and any(spec(key).gpu for key in keys))


def told_of_each(stage, settings, names):
    """The arguments of a job that works on these modalities in one process: their names, and of
    each its settings file and the type in which its models run."""
    return [
        *names,
        *(f"--settings={settings[name]}" for name in names),
        *(f"--dtype={dtype(f'{stage}.{name}')}" for name in names),
    ]


def more(mem_mb):
    """Memory that grows with every attempt: a job that was killed for it is worth another try."""
    return lambda wildcards, attempt: mem_mb * attempt


def last(*paths):
    """Of the files that a job reads, or lists of them, those that it has to wait for."""
    groups = (group if isinstance(group, list) else [group] for group in paths)
    return last_of(RESULTS, (path for group in groups for path in group))


def as_input(path):
    """A file of the user's as input. Snakemake cannot name one with braces in its path."""
    return [] if path is None or "{" in str(path) else path


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
            uses += [(f"label.{name}", getattr(CONFIG.label, name)) for name in LABELS]
            continue
        elif job.rule.name == "tokenizer_fit":
            uses += [
                (
                    f"semantic.{values['tokenizer']}",
                    CONFIG.semantic[values["tokenizer"]].features,
                )
            ]
            continue
        elif stage == "tokenize":
            names = MADE_OF[what]
            uses += [
                (f"tokenize.{name}", getattr(CONFIG.tokenize, name)) for name in names
            ]
            if "semantic" in names:
                uses += heard_uses(CONFIG)
            continue
        elif job.rule.name == "tokenizer_quality":
            key = f"tokenize.{values['modality']}"
            name = from_file_name(values["measured"])
        elif job.rule.name == "evaluate_decoded":
            keys = {key for probe in PROBES.values() for key in probe.models}
            uses += [
                (key, name) for key in sorted(keys) if (name := CONFIG.backend(key))
            ]
            continue
        elif stage == "generations":
            uses += CONFIG.generations_settings().backends.items()
            continue
        else:
            continue
        if name := name or CONFIG.backend(key):
            uses.append((key, name))
    return uses


@cache
def listed():
    """What is in the folder, with the list of clips where that is no input: a digest.

    Only a graph with the listing in it asks. A job of a cluster, which reads the workflow
    again for a later stage, does not walk the folder.
    """
    if CONFIG.chosen_source.made_here:
        return ""
    return folder_digest(
        FOLDER.root, FOLDER.clips_csv if as_input(FOLDER.csv) else None
    )


def planned_jobs():
    """The jobs of this run that leave a log, in the order of the rules."""
    place = {rule.name: number for number, rule in enumerate(workflow.rules)}
    jobs = [job for job in workflow.dag.jobs if job.log]
    return [
        planned(
            RESULTS, job.jobid, job.log[0], job.output[0], workflow.dag.needrun(job)
        )
        for job in sorted(jobs, key=lambda job: (place[job.rule.name], job.log[0]))
    ]


def mistrust(wildcards):
    """No input: marks, when the graph is built, every file that is not what its inputs make of it.

    Snakemake does not miss a deleted intermediate file, such as the output of a job that failed,
    nor another one that is older than what was made from it.
    """
    if workflow.is_main_process:
        workflow.dag.forcefiles.update(map(str, or_exit(outdated, RESULTS.root)))
    return []
