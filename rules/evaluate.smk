"""Evaluate: probes of a trained run, one JSON file each."""


rule evaluate:
    input:
        run=RESULTS.run("{experiment}") / "run.json",
        weights=RESULTS.run("{experiment}") / "checkpoint.safetensors",
        split=RESULTS.split,
        tokens=TOKENS,
    output:
        probe=RESULTS.probe("{experiment}", "{probe}"),
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
        settings=SETTINGS.path("evaluate", CONFIG.evaluate),
        version=lambda wc: stage_version(f"evaluate/{wc.probe}"),
    shell:
        "nano4m-audio evaluate {wildcards.probe} --experiment={wildcards.experiment}"
        " --settings={params.settings:q}"
        " --device={resources.device} --threads={threads} 2> {log}"
