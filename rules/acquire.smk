"""Acquire: the synthetic world, candidates of a source, their files, decoded clips."""


rule barnyard:
    output:
        clips="results/barnyard/clips.csv",
        truth="results/barnyard/truth.csv",
    log:
        "results/logs/barnyard.log",
    benchmark:
        "results/benchmarks/barnyard.tsv"
    conda:
        "../envs/nano4m-audio.yaml"
    threads: 16  # at most: never more than --cores
    resources:
        mem_mb=2000,
    params:
        settings=SETTINGS.path("barnyard", CONFIG.barnyard),
        version=stage_version("barnyard"),
    shell:
        "nano4m-audio barnyard --out=results/barnyard --threads={threads}"
        " --settings={params.settings:q} 2> {log}"


#: What is in the folder, with the list of clips where that is no input.
LISTING = (
    ""
    if FROM_BARNYARD
    else folder_digest(FOLDER.root, FOLDER.clips_csv if as_input(CLIPS_CSV) else None)
)


rule candidates:
    input:
        clips=as_input(CLIPS_CSV),
        outdated=mistrust,
    output:
        tables=expand("results/candidates/{shard}.parquet", shard=SHARDS),
        listing="results/candidates/listing.json",
    log:
        "results/logs/candidates.log",
    benchmark:
        "results/benchmarks/candidates.tsv"
    conda:
        "../envs/nano4m-audio.yaml"
    params:
        settings=SETTINGS.path("candidates", FOLDER.model_dump(exclude={"truth_csv"})),
        shards=CONFIG.n_shards,
        classes=CLASSES,
        listing=LISTING,
        version=stage_version("candidates"),
    shell:
        "nano4m-audio candidates --out=results/candidates --shards={params.shards:q}"
        " --classes={params.classes:q} --settings={params.settings:q} 2> {log}"


rule media:
    input:
        candidates="results/candidates/{shard}.parquet",
    output:
        media="results/media/{shard}.parquet",
    log:
        "results/logs/media/{shard}.log",
    benchmark:
        "results/benchmarks/media/{shard}.tsv"
    conda:
        "../envs/nano4m-audio.yaml"
    params:
        root=literally(FOLDER.root),
        links=LINKS,
        attempt=lambda wc: attempt(RESULTS, "media", wc.shard, FOLDER),
        version=stage_version("media"),
    shell:
        "nano4m-audio media --candidates={input.candidates} --root={params.root:q}"
        " --links={params.links:q} --attempt={params.attempt:q} --out={output.media} 2> {log}"


rule decode:
    input:
        media="results/media/{shard}.parquet",
    output:
        clips="results/clips/{shard}.parquet",
    log:
        "results/logs/decode/{shard}.log",
    benchmark:
        "results/benchmarks/decode/{shard}.tsv"
    conda:
        "../envs/nano4m-audio.yaml"
    resources:
        mem_mb=CONFIG.decode.memory_max_mb + 1000,
    params:
        root=literally(FOLDER.root),
        links=LINKS,
        attempt=lambda wc: attempt(RESULTS, "clips", wc.shard, FOLDER),
        settings=SETTINGS.path("decode", CONFIG.decode),
        version=stage_version("clips"),
    shell:
        "nano4m-audio decode --media={input.media} --root={params.root:q} --shard={wildcards.shard}"
        " --links={params.links:q} --attempt={params.attempt:q}"
        " --settings={params.settings:q} --out={output.clips} 2> {log}"
