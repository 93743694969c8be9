"""Browse: pictures and sounds of clips as small files, and the page on which they are."""

from nano4m_audio.browser.inputs import page_inputs, shard_inputs


rule clip_media:
    input:
        tables=last(shard_inputs(RESULTS)),
        truth=as_input(FOLDER.truth),
    output:
        index=RESULTS.clip_media(),
    log:
        "results/logs/clip_media/{shard}.log",
    benchmark:
        "results/benchmarks/clip_media/{shard}.tsv"
    conda:
        "../envs/nano4m-audio.yaml"
    resources:
        mem_mb=more(2000),
    params:
        settings=SETTINGS.path("clip_media", CONFIG.clip_media_settings(RESULTS.root)),
        shards=CONFIG.n_shards,
        files=stage_version("clip_files"),
        version=stage_version("clip_media"),
    shell:
        "nano4m-audio browse media --shard={wildcards.shard}"
        " --settings={params.settings:q} 2> {log}"


rule clips_page:
    input:
        tables=last(page_inputs(RESULTS, CONFIG.n_shards)),
        truth=as_input(FOLDER.truth),
    output:
        page=RESULTS.clips_page,
    log:
        "results/logs/clips_page.log",
    benchmark:
        "results/benchmarks/clips_page.tsv"
    conda:
        "../envs/nano4m-audio.yaml"
    resources:
        mem_mb=more(3000),
    params:
        settings=SETTINGS.path("clips_page", CONFIG.clips_page_settings(RESULTS.root)),
        version=stage_version("clips_page"),
    shell:
        "nano4m-audio browse page --settings={params.settings:q} 2> {log}"
