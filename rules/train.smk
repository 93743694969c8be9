"""Train: one run per experiment of the config."""

from nano4m_audio.experiments import (
    gpus_of,
    hardware_options,
    train_device,
    train_settings,
    watch_options,
)

TOKENS = expand(
    "results/tokens/{modality}/{shard}.parquet",
    modality=schema.MODALITIES,
    shard=SHARDS,
)
TRAIN_SETTINGS = {
    name: {
        what: SETTINGS.path(f"{what}-{name}", values(CONFIG, name))
        for what, values in (
            ("train", train_settings),
            ("watch", watch_options),
            ("hardware", hardware_options),
        )
    }
    for name in CONFIG.experiments
}


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
    threads: lambda wc: CONFIG.experiments[wc.experiment].threads
    resources:
        mem_mb=6000,
        gpu=lambda wc: gpus_of(CONFIG, wc.experiment),
        device=lambda wc: train_device(CONFIG, wc.experiment),
    params:
        shards=CONFIG.n_shards,
        settings=lambda wc: TRAIN_SETTINGS[wc.experiment]["train"],
        watch=lambda wc: TRAIN_SETTINGS[wc.experiment]["watch"],
        hardware=lambda wc: TRAIN_SETTINGS[wc.experiment]["hardware"],
        version=stage_version("train"),
    shell:
        "nano4m-audio train --experiment={wildcards.experiment} --shards={params.shards:q}"
        " --settings={params.settings:q} --watch={params.watch:q}"
        " --hardware={params.hardware:q} --device={resources.device} 2> {log}"
