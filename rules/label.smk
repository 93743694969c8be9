"""Label: depth and surface normals of the keyframes of selected clips."""


rule label:
    input:
        selected="results/selected/{shard}.parquet",
        clips="results/clips/{shard}.parquet",
    output:
        labels="results/labels/{what}/{shard}.parquet",
    log:
        "results/logs/label_{what}/{shard}.log",
    benchmark:
        "results/benchmarks/label_{what}/{shard}.tsv"
    conda:
        "../envs/nano4m-audio.yaml"
    resources:
        mem_mb=3000,
        gpu=lambda wc: gpus(f"label.{wc.what}"),
        device=CONFIG.compute.device,
    params:
        backend=lambda wc: backend(f"label.{wc.what}")[0],
        dtype=lambda wc: dtype(f"label.{wc.what}"),
        identity=lambda wc: backend(f"label.{wc.what}")[1],
        version=lambda wc: stage_version(f"labels/{wc.what}"),
    shell:
        "nano4m-audio label {wildcards.what} --selected={input.selected}"
        " --shard={wildcards.shard} --backend={params.backend:q}"
        " --device={resources.device} --dtype={params.dtype:q} --threads={threads}"
        " --out={output.labels} 2> {log}"
