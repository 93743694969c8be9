"""Label: depth, surface normals and other maps of the keyframes of selected clips, in one job per
shard: it starts once, and maps that one network makes are made in one pass.
"""

from nano4m_audio.modalities import LABELS

LABEL_SETTINGS = {
    name: SETTINGS.path(f"label-{name}", CONFIG.label_settings(name)) for name in LABELS
}


rule label:
    input:
        tables=last(RESULTS.table("selected"), RESULTS.table("clips")),
    output:
        labels=[RESULTS.table(f"labels/{name}") for name in LABELS],
    log:
        "results/logs/label/{shard}.log",
    benchmark:
        "results/benchmarks/label/{shard}.tsv"
    priority: 1  # the report waits for it longest
    conda:
        "../envs/nano4m-audio.yaml"
    resources:
        mem_mb=more(3000),
        gpu=gpus(*(f"label.{name}" for name in LABELS)),
        device=CONFIG.compute.device,
    params:
        what=told_of_each("label", LABEL_SETTINGS, LABELS),
        identity=[identity_of(f"label.{name}") for name in LABELS],
        version=[stage_version(f"labels/{name}") for name in LABELS],
    shell:
        "nano4m-audio label {params.what:q} --shard={wildcards.shard}"
        " --device={resources.device} --threads={threads} 2> {log}"
