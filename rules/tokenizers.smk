"""Tokenizers: trained on the run's own frames (`snakemake tokenizers`), and how good each one is.

A tokenizer NAME of the config is trained:NAME wherever a backend is named, and trained-NAME in
names of files.
"""

QUALITY = [
    path
    for modality in schema.PICTURES
    for path in quality_files(modality, CONFIG.measured_tokenizers(modality))
]

TOKENIZER_SETTINGS = {
    name: SETTINGS.path(f"tokenizer-{name}", tokenizer)
    for name, tokenizer in CONFIG.tokenizers.items()
}


rule tokenizers:
    input:
        QUALITY,
        [
            quality_files(tokenizer.modality, [f"trained:{name}"])
            for name, tokenizer in CONFIG.tokenizers.items()
        ],


rule tokenizer_train:
    input:
        tables=lambda wc: picture_tables(CONFIG.tokenizers[wc.tokenizer].modality),
    output:
        weights="results/tokenizers/{tokenizer}/tokenizer.safetensors",
        run="results/tokenizers/{tokenizer}/run.json",
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
        version=stage_version("tokenizers"),
    shell:
        "nano4m-audio tokenizer train {wildcards.tokenizer} --settings={params.settings:q}"
        " --shards={params.shards:q} 2> {log}"


rule tokenizer_quality:
    input:
        tables=lambda wc: picture_tables(wc.picture),
        split="results/split.parquet",
        weights=lambda wc: trained_weights(from_file_name(wc.measured)),
    output:
        quality="results/quality/{picture}/{measured}.json",
        examples="results/quality/{picture}/{measured}.png",
    log:
        "results/logs/tokenizer_quality/{picture}-{measured}.log",
    benchmark:
        "results/benchmarks/tokenizer_quality/{picture}-{measured}.tsv"
    wildcard_constraints:
        picture="|".join(schema.PICTURES),
        measured=r"[\w-]+",
    conda:
        "../envs/nano4m-audio.yaml"
    resources:
        mem_mb=3000,
        gpu=lambda wc: gpus(f"tokenize.{wc.picture}"),
        device=CONFIG.compute.device,
    params:
        shards=CONFIG.n_shards,
        backend=lambda wc: measured_backend(wc)[0],
        dtype=lambda wc: dtype(f"tokenize.{wc.picture}", from_file_name(wc.measured)),
        identity=lambda wc: measured_backend(wc)[1],
        frames=CONFIG.quality.frames,
        examples=CONFIG.quality.examples,
        bootstrap=CONFIG.evaluate.bootstrap,
        confidence=CONFIG.evaluate.confidence,
        seed=CONFIG.evaluate.seed,
        version=stage_version("quality"),
    shell:
        "nano4m-audio tokenizer quality {wildcards.picture} --backend={params.backend:q}"
        " --shards={params.shards:q} --frames={params.frames:q} --examples={params.examples:q}"
        " --bootstrap={params.bootstrap:q} --confidence={params.confidence:q} --seed={params.seed:q}"
        " --device={resources.device} --dtype={params.dtype:q} --threads={threads}"
        " --out={output.quality} 2> {log}"
