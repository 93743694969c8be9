"""Curate: scores of every clip, verdicts by threshold, duplicates and split."""

for score in ("audio", "visual", "speech"):

    rule:
        name:
            f"score_{score}"
        input:
            clips="results/clips/{shard}.parquet",
        output:
            scores=f"results/scores/{score}/{{shard}}.parquet",
        log:
            f"results/logs/score_{score}/{{shard}}.log",
        benchmark:
            f"results/benchmarks/score_{score}/{{shard}}.tsv"
        conda:
            "../envs/nano4m-audio.yaml"
        resources:
            mem_mb=3000,
            gpu=gpus(f"score.{score}"),
            device=CONFIG.compute.device,
        params:
            what=score,
            classes=CLASSES,
            settings=SETTINGS.path(f"score-{score}", getattr(CONFIG.score, score)),
            dtype=dtype(f"score.{score}"),
            identity=backend(f"score.{score}")[1],
            version=STAGE_VERSIONS[f"scores/{score}"],
        shell:
            "nano4m-audio score {params.what:q} --clips={input.clips} --shard={wildcards.shard}"
            " --classes={params.classes:q} --settings={params.settings:q}"
            " --device={resources.device} --dtype={params.dtype:q} --threads={threads}"
            " --out={output.scores} 2> {log}"


rule score_fingerprints:
    input:
        clips="results/clips/{shard}.parquet",
    output:
        scores="results/scores/fingerprints/{shard}.parquet",
    log:
        "results/logs/score_fingerprints/{shard}.log",
    benchmark:
        "results/benchmarks/score_fingerprints/{shard}.tsv"
    conda:
        "../envs/nano4m-audio.yaml"
    resources:
        mem_mb=2000,
    params:
        version=STAGE_VERSIONS["scores/fingerprints"],
    shell:
        "nano4m-audio score fingerprints --clips={input.clips} --shard={wildcards.shard}"
        " --out={output.scores} 2> {log}"


rule verdict:
    input:
        candidates="results/candidates/{shard}.parquet",
        media="results/media/{shard}.parquet",
        clips="results/clips/{shard}.parquet",
        audio="results/scores/audio/{shard}.parquet",
        visual="results/scores/visual/{shard}.parquet",
        speech="results/scores/speech/{shard}.parquet",
    output:
        verdicts="results/verdicts/{shard}.parquet",
    log:
        "results/logs/verdict/{shard}.log",
    benchmark:
        "results/benchmarks/verdict/{shard}.tsv"
    conda:
        "../envs/nano4m-audio.yaml"
    params:
        settings=SETTINGS.path("verdict", CONFIG.verdict),
        version=STAGE_VERSIONS["verdicts"],
    shell:
        "nano4m-audio verdict --shard={wildcards.shard} --settings={params.settings:q} 2> {log}"


rule split:
    input:
        candidates=expand("results/candidates/{shard}.parquet", shard=SHARDS),
        media=expand("results/media/{shard}.parquet", shard=SHARDS),
        fingerprints=expand("results/scores/fingerprints/{shard}.parquet", shard=SHARDS),
        verdicts=expand("results/verdicts/{shard}.parquet", shard=SHARDS),
    output:
        split="results/split.parquet",
        selected=expand("results/selected/{shard}.parquet", shard=SHARDS),
    log:
        "results/logs/split.log",
    benchmark:
        "results/benchmarks/split.tsv"
    conda:
        "../envs/nano4m-audio.yaml"
    resources:
        mem_mb=4000,
    params:
        shards=CONFIG.n_shards,
        settings=SETTINGS.path("split", CONFIG.split),
        version=STAGE_VERSIONS["split"],
    shell:
        "nano4m-audio split --shards={params.shards:q} --settings={params.settings:q} 2> {log}"
