"""Train: one run per experiment of the config."""

import json

from nano4m_audio.experiments import hardware_options, train_settings, watch_options

TOKENS = expand(
    "results/tokens/{modality}/{shard}.parquet",
    modality=schema.MODALITIES,
    shard=SHARDS,
)


rule train:
    input:
        split="results/split.parquet",
        tokens=TOKENS,
    output:
        run="results/runs/{experiment}/run.json",
        weights="results/runs/{experiment}/checkpoint.safetensors",
        best="results/runs/{experiment}/best.safetensors",
        metrics="results/runs/{experiment}/metrics.parquet",
        timing="results/runs/{experiment}/timing.json",
        start="results/runs/{experiment}/run_start.json",
    log:
        "results/logs/train_{experiment}.log",
    benchmark:
        "results/benchmarks/train_{experiment}.tsv"
    conda:
        "../envs/nano4m-audio.yaml"
    threads: workflow.cores
    resources:
        mem_mb=4000,
        gpu=lambda wc: CONFIG.experiments[wc.experiment].devices,
    params:
        shards=CONFIG.n_shards,
        settings=lambda wc: json.dumps(train_settings(CONFIG, wc.experiment)),
        watch=lambda wc: json.dumps(watch_options(CONFIG, wc.experiment)),
        hardware=lambda wc: json.dumps(hardware_options(CONFIG, wc.experiment)),
        version=STAGE_VERSIONS["train"],
    shell:
        "nano4m-audio train --experiment {wildcards.experiment} --shards {params.shards}"
        " --settings {params.settings:q} --watch {params.watch:q}"
        " --hardware {params.hardware:q} --threads {threads} 2> {log}"
