"""Report: the proof of the dataset, one self-contained page, and a release for others."""

from nano4m_audio.audit.proof import proof_files
from nano4m_audio.report.experiments import experiment_files
from nano4m_audio.release.build import RELEASE_FILES, release_inputs
from nano4m_audio.report.inputs import report_files


rule proof:
    input:
        tables=last(proof_files(RESULTS, CONFIG.n_shards)),
    output:
        proof=report(
            RESULTS.proof,
            caption="captions/proof.rst",
            category="Dataset",
            labels={"what": "proof of the tables", "form": "JSON"},
        ),
    log:
        "results/logs/proof.log",
    benchmark:
        "results/benchmarks/proof.tsv"
    conda:
        "../envs/nano4m-audio.yaml"
    resources:
        mem_mb=more(2000),
    params:
        settings=SETTINGS.path(
            "proof",
            {
                "verdict": CONFIG.verdict.model_dump(),
                "split": CONFIG.split.model_dump(),
            },
        ),
        version=stage_version("proof"),
    shell:
        "nano4m-audio proof --settings={params.settings:q} 2> {log}"


rule report:
    input:
        tables=last(report_files(RESULTS, CONFIG)),
        clips=[RESULTS.clips_page] if CONFIG.report.browser != 0 else [],
        truth=as_input(FOLDER.truth),
    output:
        report=report(
            RESULTS.report,
            caption="captions/report.rst",
            category="Dataset",
            labels={"what": "report of dataset and training", "form": "HTML"},
        ),
    log:
        "results/logs/report.log",
    benchmark:
        "results/benchmarks/report.tsv"
    conda:
        "../envs/nano4m-audio.yaml"
    resources:
        mem_mb=more(3000),
        gpu=gpus(*(f"tokenize.{modality}" for modality in MODALITIES)),
    params:
        settings=SETTINGS.path("config", CONFIG),
        version=stage_version("report"),
    shell:
        "nano4m-audio report --settings={params.settings:q} 2> {log}"


rule experiments:
    input:
        files=experiment_files(RESULTS, CONFIG),
    output:
        report(
            RESULTS.experiments,
            caption="captions/experiments.rst",
            category="Training",
            labels={"what": "experiments side by side", "form": "HTML"},
        ),
    log:
        "results/logs/experiments.log",
    benchmark:
        "results/benchmarks/experiments.tsv"
    conda:
        "../envs/nano4m-audio.yaml"
    resources:
        mem_mb=more(2000),
    params:
        settings=SETTINGS.path("config", CONFIG),
        version=stage_version("experiments"),
    shell:
        "nano4m-audio experiments --settings={params.settings:q} 2> {log}"


rule study:
    input:
        files=experiment_files(RESULTS, CONFIG),
    output:
        RESULTS.study,
    log:
        "results/logs/study.log",
    benchmark:
        "results/benchmarks/study.tsv"
    conda:
        "../envs/nano4m-audio.yaml"
    resources:
        mem_mb=more(2000),
    params:
        settings=SETTINGS.path("config", CONFIG),
        version=stage_version("study"),
    shell:
        "nano4m-audio study --settings={params.settings:q} 2> {log}"


rule release:
    input:
        tables=last(release_inputs(RESULTS, CONFIG.n_shards)),
    output:
        [RESULTS.release / name for name in RELEASE_FILES],
    log:
        "results/logs/release.log",
    benchmark:
        "results/benchmarks/release.tsv"
    conda:
        "../envs/nano4m-audio.yaml"
    resources:
        mem_mb=more(3000),
    params:
        settings=SETTINGS.path("config", CONFIG),
        version=stage_version("release"),
    shell:
        "nano4m-audio release --settings={params.settings:q} 2> {log}"
