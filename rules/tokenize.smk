"""Tokenize: the modalities of the selected clips, one table per shard and modality."""

TOKENIZE_SETTINGS = {
    name: SETTINGS.path(f"tokenize-{name}", CONFIG.tokenize_settings(name))
    for name in CONFIG.modalities
}


rule tokenize:
    input:
        tables=lambda wc: last(
            RESULTS.table("selected", wc.shard),
            RESULTS.table(MODALITIES[wc.modality].source, wc.shard),
        ),
        weights=lambda wc: trained_weights(CONFIG.backend(f"tokenize.{wc.modality}")),
    output:
        tokens=RESULTS.table("tokens/{modality}"),
    log:
        "results/logs/tokenize_{modality}/{shard}.log",
    benchmark:
        "results/benchmarks/tokenize_{modality}/{shard}.tsv"
    priority: 1  # the report waits for it longest
    conda:
        "../envs/nano4m-audio.yaml"
    resources:
        mem_mb=more(3000),
        gpu=lambda wc: gpus(f"tokenize.{wc.modality}"),
        device=CONFIG.compute.device,
    params:
        settings=lambda wc: TOKENIZE_SETTINGS[wc.modality],
        dtype=lambda wc: dtype(f"tokenize.{wc.modality}"),
        identity=lambda wc: identity_of(f"tokenize.{wc.modality}"),
        version=lambda wc: stage_version(f"tokens/{wc.modality}"),
    shell:
        "nano4m-audio tokenize {wildcards.modality} --shard={wildcards.shard}"
        " --settings={params.settings:q} --device={resources.device} --dtype={params.dtype:q}"
        " --threads={threads} 2> {log}"
