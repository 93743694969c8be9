"""Report: one self-contained page."""

from nano4m_audio.report.inputs import report_files


rule report:
    input:
        tables=[str(path) for path in report_files(RESULTS, CONFIG)],
        truth=as_input(TRUTH),
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
        gpu=gpus(*(f"tokenize.{modality}" for modality in MODALITIES)),
    params:
        config=SETTINGS.path("config", CONFIG),
        truth=literally(TRUTH),
        version=STAGE_VERSIONS["report"],
    shell:
        "nano4m-audio report --config={params.config:q} --truth={params.truth:q}"
        " --out={output.report} 2> {log}"
