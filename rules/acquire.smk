"""Acquire: the synthetic world, candidates of a source, their files, decoded clips."""


rule barnyard:
    output:
        clips=RESULTS / "barnyard/clips.csv",
        truth=RESULTS / "barnyard/truth.csv",
    log:
        "results/logs/barnyard.log",
    benchmark:
        "results/benchmarks/barnyard.tsv"
    conda:
        "../envs/nano4m-audio.yaml"
    threads: 16  # at most: never more than --cores
    resources:
        mem_mb=more(2000),
    params:
        settings=SETTINGS.path("barnyard", CONFIG.barnyard),
        version=stage_version("barnyard"),
    shell:
        "nano4m-audio barnyard --settings={params.settings:q} --threads={threads} 2> {log}"


rule candidates:
    input:
        clips=as_input(FOLDER.csv),
        lists=[path for path in LISTS if Path(path).is_file() and as_input(path)],
        outdated=mistrust,
    output:
        tables=RESULTS.tables("candidates", CONFIG.n_shards),
        listing=RESULTS.listing,
    log:
        "results/logs/candidates.log",
    benchmark:
        "results/benchmarks/candidates.tsv"
    conda:
        "../envs/nano4m-audio.yaml"
    params:
        settings=SETTINGS.path(
            "candidates",
            {
                "source": CONFIG.source,
                CONFIG.source: CONFIG.chosen_source.model_dump(
                    mode="json", exclude=CONFIG.chosen_source.unlisted
                ),
                "n_shards": CONFIG.n_shards,
                "classes": CONFIG.class_details(*CONFIG.chosen_source.class_details),
            },
        ),
        listing=lambda _: listed(),
        version=stage_version("candidates"),
    shell:
        "nano4m-audio candidates --settings={params.settings:q} 2> {log}"


rule fetch:
    input:
        candidates=RESULTS.tables("candidates", CONFIG.n_shards),
    output:
        tables=RESULTS.tables("fetched", CONFIG.n_shards),
        answers=RESULTS.fetched,
    log:
        "results/logs/fetch.log",
    benchmark:
        "results/benchmarks/fetch.tsv"
    conda:
        "../envs/nano4m-audio.yaml"
    params:
        attempt=lambda _: next_attempt(RESULTS, CONFIG.web),
        settings=SETTINGS.path(
            "fetch", CONFIG.web.model_dump(mode="json", include=CONFIG.web.unlisted)
        ),
        version=stage_version("fetched"),
    shell:
        "nano4m-audio fetch --settings={params.settings:q} --attempt={params.attempt:q}"
        " 2> {log}"


rule media:
    input:
        candidates=RESULTS.table("candidates"),
        fetched=[RESULTS.table("fetched")] if FILES.fetched else [],
    output:
        media=RESULTS.table("media"),
    log:
        "results/logs/media/{shard}.log",
    benchmark:
        "results/benchmarks/media/{shard}.tsv"
    conda:
        "../envs/nano4m-audio.yaml"
    params:
        attempt=lambda wc: attempt(RESULTS, "media", wc.shard, FILES),
        settings=SETTINGS.path("media", FILES),
        version=stage_version("media"),
    shell:
        "nano4m-audio media --shard={wildcards.shard} --settings={params.settings:q}"
        " --attempt={params.attempt:q} 2> {log}"


rule decode:
    input:
        media=RESULTS.table("media"),
    output:
        clips=RESULTS.table("clips"),
    log:
        "results/logs/decode/{shard}.log",
    benchmark:
        "results/benchmarks/decode/{shard}.tsv"
    conda:
        "../envs/nano4m-audio.yaml"
    resources:
        mem_mb=more(CONFIG.decode.memory_max_mb + 1000),
    params:
        attempt=lambda wc: attempt(RESULTS, "clips", wc.shard, FILES),
        settings=SETTINGS.path(
            "decode", {**CONFIG.decode.model_dump(), "files": FILES.model_dump()}
        ),
        version=stage_version("clips"),
    shell:
        "nano4m-audio decode --shard={wildcards.shard} --settings={params.settings:q}"
        " --attempt={params.attempt:q} 2> {log}"
