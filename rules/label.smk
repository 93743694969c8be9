"""Label: depth, surface normals and other maps of the keyframes of selected clips."""

from nano4m_audio.modalities import LABELS

LABEL_SETTINGS = {
    name: SETTINGS.path(f"label-{name}", CONFIG.label_settings(name)) for name in LABELS
}


rule label:
    input:
        tables=last(RESULTS.table("selected"), RESULTS.table("clips")),
        # Where one network makes both, the maps are in the store when the other's job is done.
        same_network=lambda wc: (
            RESULTS.table(f"labels/{source}", wc.shard)
            if (source := CONFIG.label_source(wc.modality)) != wc.modality
            else []
        ),
    output:
        labels=RESULTS.table("labels/{modality}"),
    log:
        "results/logs/label_{modality}/{shard}.log",
    benchmark:
        "results/benchmarks/label_{modality}/{shard}.tsv"
    wildcard_constraints:
        modality="|".join(LABELS),
    priority: 1  # the report waits for it longest
    conda:
        "../envs/nano4m-audio.yaml"
    resources:
        mem_mb=more(3000),
        gpu=lambda wc: gpus(f"label.{wc.modality}"),
        device=CONFIG.compute.device,
    params:
        settings=lambda wc: LABEL_SETTINGS[wc.modality],
        dtype=lambda wc: dtype(f"label.{wc.modality}"),
        identity=lambda wc: identity_of(f"label.{wc.modality}"),
        version=lambda wc: stage_version(f"labels/{wc.modality}"),
    shell:
        "nano4m-audio label {wildcards.modality} --shard={wildcards.shard}"
        " --settings={params.settings:q} --device={resources.device} --dtype={params.dtype:q}"
        " --threads={threads} 2> {log}"
