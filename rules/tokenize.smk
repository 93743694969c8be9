"""Tokenize: the modalities of the selected clips, one table per shard and modality. What is made of
the clips and what is made of their labels are one job each: the first does not wait for the second.
"""

TOKENIZE_SETTINGS = {
    name: SETTINGS.path(f"tokenize-{name}", CONFIG.tokenize_settings(name))
    for name in CONFIG.modalities
}
MADE_OF = {
    "clips": [name for name in CONFIG.modalities if not MODALITIES[name].estimator],
    "labels": [name for name in CONFIG.modalities if MODALITIES[name].estimator],
}

for source, names in MADE_OF.items():

    rule:
        name:
            f"tokenize_{source}"
        input:
            tables=last(
                RESULTS.table("selected"),
                *(RESULTS.table(MODALITIES[name].source) for name in names),
            ),
            weights=[
                path
                for name in names
                if (path := trained_weights(CONFIG.backend(f"tokenize.{name}")))
            ],
        output:
            tokens=[RESULTS.table(f"tokens/{name}") for name in names],
        log:
            f"results/logs/tokenize_{source}/{{shard}}.log",
        benchmark:
            f"results/benchmarks/tokenize_{source}/{{shard}}.tsv"
        priority: 1  # the report waits for it longest
        conda:
            "../envs/nano4m-audio.yaml"
        resources:
            mem_mb=more(3000),
            gpu=gpus(*(f"tokenize.{name}" for name in names)),
            device=CONFIG.compute.device,
        params:
            what=told_of_each("tokenize", TOKENIZE_SETTINGS, names),
            identity=[identity_of(f"tokenize.{name}") for name in names],
            version=[stage_version(f"tokens/{name}") for name in names],
        shell:
            "nano4m-audio tokenize {params.what:q} --shard={wildcards.shard}"
            " --device={resources.device} --threads={threads} 2> {log}"
