"""Report: one self-contained page."""

from nano4m_audio.report.inputs import report_files


rule report:
    input:
        tables=report_files(RESULTS, CONFIG),
        truth=as_input(FOLDER.truth),
    output:
        report=RESULTS.report,
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
        settings=SETTINGS.path("config", CONFIG),
        version=stage_version("report"),
    shell:
        "nano4m-audio report --settings={params.settings:q} 2> {log}"
