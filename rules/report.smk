"""Report: one self-contained page."""


rule report:
    input:
        split="results/split.parquet",
        tokens=TOKENS,
        runs=expand("results/runs/{experiment}/run.json", experiment=CONFIG.experiments),
        probes=expand(
            "results/evaluation/{experiment}/{probe}.json",
            experiment=CONFIG.experiments,
            probe=PROBES,
        ),
        quality=QUALITY,
    output:
        report="results/report.html",
    log:
        "results/logs/report.log",
    benchmark:
        "results/benchmarks/report.tsv"
    conda:
        "../envs/nano4m-audio.yaml"
    resources:
        mem_mb=3000,
        gpu=gpus(*(f"tokenize.{modality}" for modality in schema.MODALITIES)),
    params:
        config=SETTINGS.path("config", CONFIG),
        truth=literally(TRUTH),
        version=STAGE_VERSIONS["report"],
    shell:
        "nano4m-audio report --config={params.config:q} --truth={params.truth:q}"
        " --out={output.report} 2> {log}"
