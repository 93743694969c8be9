"""Train: one run per experiment of the config."""

from nano4m_audio.experiments import gpus_of, train_device, train_settings

TOKENS = expand(
    "results/tokens/{modality}/{shard}.parquet",
    modality=schema.MODALITIES,
    shard=SHARDS,
)
TRAIN_SETTINGS = {
    name: SETTINGS.path(f"train-{name}", or_exit(train_settings, CONFIG, name))
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
    threads: lambda wc: CONFIG.experiments[wc.experiment].numerics.threads
    resources:
        mem_mb=6000,
        gpu=lambda wc: gpus_of(CONFIG, wc.experiment),
        device=lambda wc: train_device(CONFIG, wc.experiment),
    params:
        shards=CONFIG.n_shards,
        settings=lambda wc: TRAIN_SETTINGS[wc.experiment],
        version=STAGE_VERSIONS["train"],
    shell:
        "nano4m-audio train --experiment={wildcards.experiment} --shards={params.shards:q}"
        " --settings={params.settings:q} --device={resources.device} 2> {log}"
