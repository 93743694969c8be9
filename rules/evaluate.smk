"""Evaluate: probes of a trained run, one JSON file each."""

PROBES = ("cross_entropy", "classes", "structure")


rule evaluate:
    input:
        run="results/runs/{experiment}/run.json",
        weights="results/runs/{experiment}/checkpoint.safetensors",
        split="results/split.parquet",
        tokens=TOKENS,
    output:
        probe="results/evaluation/{experiment}/{probe}.json",
    log:
        "results/logs/evaluate_{experiment}_{probe}.log",
    benchmark:
        "results/benchmarks/evaluate_{experiment}_{probe}.tsv"
    conda:
        "../envs/nano4m-audio.yaml"
    threads: lambda wc: CONFIG.experiments[wc.experiment].numerics.threads
    resources:
        mem_mb=3000,
        gpu=lambda wc: min(1, gpus_of(CONFIG, wc.experiment)),
        device=lambda wc: train_device(CONFIG, wc.experiment),
    params:
        shards=CONFIG.n_shards,
        settings=SETTINGS.path("evaluate", CONFIG.evaluate),
        version=STAGE_VERSIONS["evaluate"],
    shell:
        "nano4m-audio evaluate {wildcards.probe} --experiment={wildcards.experiment}"
        " --shards={params.shards:q} --settings={params.settings:q}"
        " --device={resources.device} --threads={threads} 2> {log}"
