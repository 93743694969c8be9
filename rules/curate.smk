"""Curate: scores of every clip, verdicts by threshold, duplicates and split."""

for score in ("audio", "visual", "speech"):

    rule:
        name:
            f"score_{score}"
        input:
            clips=RESULTS.table("clips"),
        output:
            scores=RESULTS.table(f"scores/{score}"),
        log:
            f"results/logs/score_{score}/{{shard}}.log",
        benchmark:
            f"results/benchmarks/score_{score}/{{shard}}.tsv"
        conda:
            "../envs/nano4m-audio.yaml"
        resources:
            mem_mb=more(3000),
            gpu=gpus(f"score.{score}"),
            device=CONFIG.compute.device,
        params:
            what=score,
            settings=SETTINGS.path(f"score-{score}", CONFIG.score_settings(score)),
            dtype=dtype(f"score.{score}"),
            identity=identity_of(f"score.{score}"),
            version=stage_version(f"scores/{score}"),
        shell:
            "nano4m-audio score {params.what:q} --shard={wildcards.shard}"
            " --settings={params.settings:q}"
            " --device={resources.device} --dtype={params.dtype:q} --threads={threads} 2> {log}"


rule score_fingerprints:
    input:
        clips=RESULTS.table("clips"),
    output:
        scores=RESULTS.table("scores/fingerprints"),
    log:
        "results/logs/score_fingerprints/{shard}.log",
    benchmark:
        "results/benchmarks/score_fingerprints/{shard}.tsv"
    conda:
        "../envs/nano4m-audio.yaml"
    resources:
        mem_mb=more(2000),
    params:
        version=stage_version("scores/fingerprints"),
    shell:
        "nano4m-audio score fingerprints --shard={wildcards.shard} 2> {log}"


rule verdict:
    input:
        last(
            RESULTS.table("candidates"),
            RESULTS.table("media"),
            RESULTS.table("clips"),
            RESULTS.table("scores/audio"),
            RESULTS.table("scores/visual"),
            RESULTS.table("scores/speech"),
            RESULTS.table("scores/fingerprints"),
        ),
    output:
        verdicts=RESULTS.table("verdicts"),
    log:
        "results/logs/verdict/{shard}.log",
    benchmark:
        "results/benchmarks/verdict/{shard}.tsv"
    conda:
        "../envs/nano4m-audio.yaml"
    params:
        settings=SETTINGS.path("verdict", CONFIG.verdict),
        version=stage_version("verdicts"),
    shell:
        "nano4m-audio verdict --shard={wildcards.shard} --settings={params.settings:q} 2> {log}"


rule split:
    input:
        last(
            RESULTS.tables("candidates", CONFIG.n_shards),
            RESULTS.tables("media", CONFIG.n_shards),
            RESULTS.tables("scores/fingerprints", CONFIG.n_shards),
            RESULTS.tables("verdicts", CONFIG.n_shards),
        ),
    output:
        split=RESULTS.split,
        selected=RESULTS.tables("selected", CONFIG.n_shards),
    log:
        "results/logs/split.log",
    benchmark:
        "results/benchmarks/split.tsv"
    conda:
        "../envs/nano4m-audio.yaml"
    threads: 4  # at most; each compares pictures and sounds of its own, with NumPy in one thread
    resources:
        mem_mb=more(4000),
    params:
        settings=SETTINGS.path("split", CONFIG.split),
        version=stage_version("split"),
    shell:
        "OMP_NUM_THREADS=1 nano4m-audio split --settings={params.settings:q}"
        " --threads={threads} 2> {log}"
