"""Evaluate: the probes of a trained run, one JSON file each, in two jobs that take about as long:
most probes are quicker than torch is imported.
"""

from nano4m_audio.probes import DECODED, READ_TABLES, SCORED


rule evaluate:
    input:
        last(
            RESULTS.run("{experiment}") / "run.json",
            RESULTS.run("{experiment}") / "checkpoint.safetensors",
            RESULTS.split,
            TOKENS,
            *(
                RESULTS.tables(name, CONFIG.n_shards)
                for names in READ_TABLES.values()
                for name in names
            ),
        ),
    output:
        probes=[RESULTS.probe("{experiment}", probe) for probe in SCORED],
    log:
        "results/logs/evaluate_{experiment}.log",
    benchmark:
        "results/benchmarks/evaluate_{experiment}.tsv"
    conda:
        "../envs/nano4m-audio.yaml"
    threads: lambda wc: CONFIG.experiments[wc.experiment].numerics.threads
    resources:
        mem_mb=more(6000),
        gpu=lambda wc: min(1, gpus_of(CONFIG, wc.experiment)),
        device=lambda wc: train_device(CONFIG, wc.experiment),
    params:
        settings=SETTINGS.path("evaluate", CONFIG.evaluate_settings()),
        what=SCORED,
        version=[stage_version(f"evaluate/{probe}") for probe in SCORED],
    shell:
        "OMP_NUM_THREADS=1 nano4m-audio evaluate {params.what:q}"
        " --experiment={wildcards.experiment} --settings={params.settings:q}"
        " --device={resources.device} --threads={threads} 2> {log}"


use rule evaluate as evaluate_decoded with:
    input:
        rules.evaluate.input,
        models=sorted({path for p in DECODED for path in probe_weights(PROBES[p])}),
    output:
        probes=[RESULTS.probe("{experiment}", probe) for probe in DECODED],
    log:
        "results/logs/decoded_{experiment}.log",
    benchmark:
        "results/benchmarks/decoded_{experiment}.tsv"
    params:
        settings=SETTINGS.path("evaluate", CONFIG.evaluate_settings()),
        what=DECODED,
        identities={key: identity_of(key) for p in DECODED for key in PROBES[p].models},
        version=[stage_version(f"evaluate/{probe}") for probe in DECODED],
