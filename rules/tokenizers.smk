"""Tokenizers: trained on the run's own frames (`snakemake tokenizers`), and how good each one is.

A tokenizer NAME of the config is trained:NAME wherever a backend is named, and trained-NAME in
names of files.
"""

from nano4m_audio.modalities import IMAGES
from nano4m_audio.tokenize.keyframes import image_tables

IN_USE = [(m, name) for m in IMAGES for name in CONFIG.measured_tokenizers(m)]
TRAINED_HERE = [
    (tokenizer.modality, f"trained:{name}")
    for name, tokenizer in CONFIG.tokenizers.items()
]
QUALITY_SETTINGS = {
    RESULTS.quality(modality, name): SETTINGS.path(
        f"quality-{modality}", CONFIG.quality_settings(modality, name)
    )
    for modality, name in [*TRAINED_HERE, *reversed(IN_USE)]
}

TOKENIZER_SETTINGS = {
    name: SETTINGS.path(f"tokenizer-{name}", tokenizer)
    for name, tokenizer in CONFIG.tokenizers.items()
}

SEMANTIC_SETTINGS = {
    name: SETTINGS.path(f"semantic-{name}", semantic)
    for name, semantic in CONFIG.semantic.items()
}


rule tokenizers:
    input:
        list(QUALITY_SETTINGS),
        [RESULTS.tokenizer(n) / "run.json" for n in CONFIG.semantic]
        if "semantic" in CONFIG.modalities
        else [],


rule tokenizer_fit:
    input:
        last(
            RESULTS.tables("selected", CONFIG.n_shards),
            RESULTS.tables("clips", CONFIG.n_shards),
        ),
    output:
        weights=RESULTS.tokenizer("{tokenizer}") / "tokenizer.safetensors",
        run=RESULTS.tokenizer("{tokenizer}") / "run.json",
    log:
        "results/logs/tokenizer_fit/{tokenizer}.log",
    benchmark:
        "results/benchmarks/tokenizer_fit/{tokenizer}.tsv"
    wildcard_constraints:
        tokenizer="|".join(CONFIG.semantic) or "none",
    conda:
        "../envs/nano4m-audio.yaml"
    threads: 2
    resources:
        mem_mb=more(6000),
        gpu=lambda wc: int(
            CONFIG.compute.device != "cpu" and heard_by(wc.tokenizer).gpu
        ),
        device=CONFIG.compute.device,
    params:
        settings=lambda wc: SEMANTIC_SETTINGS[wc.tokenizer],
        identity=lambda wc: or_exit(
            identity, "sound_features", CONFIG.semantic[wc.tokenizer].features
        ),
        version=stage_version("semantic"),
    shell:
        "nano4m-audio tokenizer fit {wildcards.tokenizer} --settings={params.settings:q}"
        " --device={resources.device} 2> {log}"


rule tokenizer_train:
    input:
        tables=lambda wc: last(
            image_tables(
                RESULTS, CONFIG.tokenizers[wc.tokenizer].modality, CONFIG.n_shards
            )
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
        mem_mb=more(6000),
    params:
        settings=lambda wc: TOKENIZER_SETTINGS[wc.tokenizer],
        version=stage_version("tokenizers"),
    shell:
        "nano4m-audio tokenizer train {wildcards.tokenizer} --settings={params.settings:q}"
        " 2> {log}"


rule tokenizer_quality:
    input:
        tables=lambda wc: last(
            image_tables(RESULTS, wc.modality, CONFIG.n_shards), RESULTS.split
        ),
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
        measured="|".join({path.stem for path in QUALITY_SETTINGS}),
    conda:
        "../envs/nano4m-audio.yaml"
    resources:
        mem_mb=more(3000),
        gpu=lambda wc: gpus(f"tokenize.{wc.modality}"),
        device=CONFIG.compute.device,
    params:
        settings=lambda wc: QUALITY_SETTINGS[RESULTS.quality(wc.modality, wc.measured)],
        dtype=lambda wc: dtype(f"tokenize.{wc.modality}", from_file_name(wc.measured)),
        identity=lambda wc: identity_of(
            f"tokenize.{wc.modality}", from_file_name(wc.measured)
        ),
        version=stage_version("quality"),
    shell:
        "nano4m-audio tokenizer quality {wildcards.modality}"
        " --settings={params.settings:q} --device={resources.device} --dtype={params.dtype:q}"
        " --threads={threads} 2> {log}"
