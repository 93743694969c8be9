"""The mini family: `snakemake mini` renders its data, trains every member and measures it.

Nothing else depends on these rules; the committed weights change only by `nano4m-audio mini install`.
"""

MINI_MEMBERS = [
    "tagger",
    "scorer",
    "dense",
    "rgb_tokenizer",
    "depth_tokenizer",
    "normal_tokenizer",
    "codec",
]


rule mini:
    input:
        "results/mini/card.json",
        "results/mini/MINI.md",


rule mini_data:
    output:
        views="results/mini/data/views.safetensors",
        sounds="results/mini/data/sounds.safetensors",
    log:
        "results/logs/mini_data.log",
    benchmark:
        "results/benchmarks/mini_data.tsv"
    conda:
        "../envs/nano4m-audio.yaml"
    threads: 2
    resources:
        mem_mb=more(12000),
    params:
        seed=CONFIG.mini.seed,
        views=CONFIG.mini.views,
        sounds=CONFIG.mini.sounds,
    shell:
        "nano4m-audio mini data --folder=results/mini/data --seed={params.seed:q}"
        " --views={params.views:q} --sounds={params.sounds:q} --workers={threads} 2> {log}"


rule mini_train:
    input:
        views="results/mini/data/views.safetensors",
        sounds="results/mini/data/sounds.safetensors",
    output:
        weights="results/mini/weights/{member}.safetensors",
    log:
        "results/logs/mini_train/{member}.log",
    benchmark:
        "results/benchmarks/mini_train/{member}.tsv"
    wildcard_constraints:
        member="|".join(MINI_MEMBERS),
    conda:
        "../envs/nano4m-audio.yaml"
    resources:
        mem_mb=more(6000),
    params:
        seed=CONFIG.mini.seed,
        steps=CONFIG.mini.steps or 0,
    shell:
        "nano4m-audio mini train {wildcards.member} --data=results/mini/data"
        " --seed={params.seed:q} --steps={params.steps:q} --out={output.weights} 2> {log}"


rule mini_card:
    input:
        weights=expand("results/mini/weights/{member}.safetensors", member=MINI_MEMBERS),
    output:
        card="results/mini/card.json",
        page="results/mini/MINI.md",
    log:
        "results/logs/mini_card.log",
    benchmark:
        "results/benchmarks/mini_card.tsv"
    conda:
        "../envs/nano4m-audio.yaml"
    resources:
        mem_mb=more(6000),
    params:
        seed=CONFIG.mini.seed,
        views=CONFIG.mini.card_views,
        sounds=CONFIG.mini.card_sounds,
    shell:
        "nano4m-audio mini card --weights=results/mini/weights --seed={params.seed:q}"
        " --views={params.views:q} --sounds={params.sounds:q}"
        " --card={output.card} --page={output.page} 2> {log}"
