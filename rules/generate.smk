"""Generate: what the model of the leading experiment makes, for the report."""

from nano4m_audio.generation.shown import INDEX


rule generations:
    input:
        last(
            RESULTS.run("{experiment}") / "run.json",
            RESULTS.run("{experiment}") / "checkpoint.safetensors",
            RESULTS.split,
            TOKENS,
            RESULTS.tables("selected", CONFIG.n_shards),
            *(RESULTS.tables(f"labels/{name}", CONFIG.n_shards) for name in LABELS),
        ),
        models=sorted(
            str(path)
            for name in CONFIG.generations_settings().backends.values()
            if (path := trained_weights(name))
        ),
    output:
        index=RESULTS.generated("{experiment}") / INDEX,
    log:
        "results/logs/generations_{experiment}.log",
    benchmark:
        "results/benchmarks/generations_{experiment}.tsv"
    conda:
        "../envs/nano4m-audio.yaml"
    threads: lambda wc: CONFIG.experiments[wc.experiment].numerics.threads
    resources:
        mem_mb=more(3000),
        gpu=lambda wc: min(1, gpus_of(CONFIG, wc.experiment)),
        device=lambda wc: train_device(CONFIG, wc.experiment),
    params:
        settings=SETTINGS.path("generations", CONFIG.generations_settings()),
        identities=[identity_of(key) for key in CONFIG.generations_settings().backends],
        version=stage_version("generated"),
    shell:
        "nano4m-audio generations --experiment={wildcards.experiment}"
        " --settings={params.settings:q}"
        " --device={resources.device} --threads={threads} 2> {log}"
