"""Train: one run per experiment of the config."""

from nano4m_audio.experiments import gpus_of, train_device, train_settings

TOKENS = [
    path for files in RESULTS.token_files(CONFIG.n_shards).values() for path in files
]
TRAIN_SETTINGS = {
    name: SETTINGS.path(f"train-{name}", or_exit(train_settings, CONFIG, name))
    for name in CONFIG.experiments
}


rule train:
    input:
        last(RESULTS.split, TOKENS),
    output:
        run=RESULTS.run("{experiment}") / "run.json",
        weights=RESULTS.run("{experiment}") / "checkpoint.safetensors",
        best=RESULTS.run("{experiment}") / "best.safetensors",
        metrics=RESULTS.run("{experiment}") / "metrics.parquet",
        timing=RESULTS.run("{experiment}") / "timing.json",
        start=RESULTS.run("{experiment}") / "run_start.json",
    log:
        "results/logs/train_{experiment}.log",
    benchmark:
        "results/benchmarks/train_{experiment}.tsv"
    priority: 1  # the report waits for it longest
    conda:
        "../envs/nano4m-audio.yaml"
    threads: lambda wc: CONFIG.experiments[wc.experiment].numerics.threads
    resources:
        mem_mb=more(6000),
        gpu=lambda wc: gpus_of(CONFIG, wc.experiment),
        device=lambda wc: train_device(CONFIG, wc.experiment),
    params:
        settings=lambda wc: TRAIN_SETTINGS[wc.experiment],
        version=stage_version("train"),
    shell:
        "nano4m-audio train --experiment={wildcards.experiment} --settings={params.settings:q}"
        " --device={resources.device} 2> {log}"
