"""Tokenizers: trained on the run's own frames (`snakemake tokenizers`), and how good each one is.

A tokenizer NAME of the config is trained:NAME wherever a backend is named, and trained-NAME in
names of files.
"""

from nano4m_audio.modalities import IMAGES
from nano4m_audio.tokenize.keyframes import image_tables

QUALITY = [
    RESULTS.quality(modality, name)
    for modality in IMAGES
    for name in CONFIG.measured_tokenizers(modality)
]
TOKENIZER_SETTINGS = {
    name: SETTINGS.path(f"tokenizer-{name}", tokenizer)
    for name, tokenizer in CONFIG.tokenizers.items()
}


def quality_settings(modality, measured):
    """The settings file of one measurement."""
    settings = CONFIG.quality_settings(modality, from_file_name(measured))
    return SETTINGS.path(f"quality-{modality}-{measured}", settings)


rule tokenizers:
    input:
        QUALITY,
        [
            RESULTS.quality(tokenizer.modality, f"trained:{name}")
            for name, tokenizer in CONFIG.tokenizers.items()
        ],


rule tokenizer_train:
    input:
        tables=lambda wc: image_tables(
            RESULTS, CONFIG.tokenizers[wc.tokenizer].modality, CONFIG.n_shards
        ),
    output:
        weights=RESULTS.tokenizer("{tokenizer}") / "tokenizer.safetensors",
        run=RESULTS.tokenizer("{tokenizer}") / "run.json",
    log:
        "results/logs/tokenizer_train/{tokenizer}.log",
    benchmark:
        "results/benchmarks/tokenizer_train/{tokenizer}.tsv"
    wildcard_constraints:
        tokenizer="|".join(CONFIG.tokenizers) or "none",
    conda:
        "../envs/nano4m-audio.yaml"
    threads: lambda wc: CONFIG.tokenizers[wc.tokenizer].threads
    resources:
        mem_mb=6000,
    params:
        shards=CONFIG.n_shards,
        settings=lambda wc: TOKENIZER_SETTINGS[wc.tokenizer],
        version=STAGE_VERSIONS["tokenizers"],
    shell:
        "nano4m-audio tokenizer train {wildcards.tokenizer} --settings={params.settings:q}"
        " --shards={params.shards:q} 2> {log}"


rule tokenizer_quality:
    input:
        tables=lambda wc: image_tables(RESULTS, wc.modality, CONFIG.n_shards),
        split=RESULTS.split,
        weights=lambda wc: trained_weights(from_file_name(wc.measured)),
    output:
        quality=RESULTS.quality("{modality}", "{measured}"),
        examples=RESULTS.quality("{modality}", "{measured}").with_suffix(".png"),
    log:
        "results/logs/tokenizer_quality/{modality}-{measured}.log",
    benchmark:
        "results/benchmarks/tokenizer_quality/{modality}-{measured}.tsv"
    wildcard_constraints:
        modality="|".join(IMAGES),
        measured=r"[\w-]+",
    conda:
        "../envs/nano4m-audio.yaml"
    resources:
        mem_mb=3000,
        gpu=lambda wc: gpus(f"tokenize.{wc.modality}"),
        device=CONFIG.compute.device,
    params:
        shards=CONFIG.n_shards,
        settings=lambda wc: quality_settings(wc.modality, wc.measured),
        dtype=lambda wc: dtype(f"tokenize.{wc.modality}", from_file_name(wc.measured)),
        identity=lambda wc: identity_of(
            f"tokenize.{wc.modality}", from_file_name(wc.measured)
        ),
        version=STAGE_VERSIONS["quality"],
    shell:
        "nano4m-audio tokenizer quality {wildcards.modality} --shards={params.shards:q}"
        " --settings={params.settings:q} --device={resources.device} --dtype={params.dtype:q}"
        " --threads={threads} 2> {log}"
