"""Tokenize: five modalities of the selected clips, one table per shard and modality."""

CAPTIONS = SETTINGS.path(
    "captions",
    {
        "caption_template": CONFIG.tokenize.caption_template,
        "classes": CONFIG.class_details("caption"),
    },
)


rule tokenize:
    input:
        selected="results/selected/{shard}.parquet",
        source=token_source,
        weights=lambda wc: trained_weights(CONFIG.backend(f"tokenize.{wc.modality}")),
    output:
        tokens="results/tokens/{modality}/{shard}.parquet",
    log:
        "results/logs/tokenize_{modality}/{shard}.log",
    benchmark:
        "results/benchmarks/tokenize_{modality}/{shard}.tsv"
    conda:
        "../envs/nano4m-audio.yaml"
    resources:
        mem_mb=3000,
        gpu=lambda wc: gpus(f"tokenize.{wc.modality}"),
        device=CONFIG.compute.device,
    params:
        backend=lambda wc: backend(f"tokenize.{wc.modality}")[0],
        dtype=lambda wc: dtype(f"tokenize.{wc.modality}"),
        identity=lambda wc: backend(f"tokenize.{wc.modality}")[1],
        version=lambda wc: stage_version(f"tokens/{wc.modality}"),
        settings=lambda wc: CAPTIONS if wc.modality == "caption" else "{}",
    shell:
        "nano4m-audio tokenize {wildcards.modality} --selected={input.selected}"
        " --source={input.source} --shard={wildcards.shard} --backend={params.backend:q}"
        " --settings={params.settings:q}"
        " --device={resources.device} --dtype={params.dtype:q} --threads={threads}"
        " --out={output.tokens} 2> {log}"
