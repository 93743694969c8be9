"""nano4M-Audio: candidates -> media -> clips -> scores -> verdicts -> split -> labels -> tokens
-> training -> evaluation -> results/report.html. The rules of each wing are in rules/.
"""

from pathlib import Path

from snakemake.common.configfile import load_configfile
from snakemake.utils import min_version

min_version("9.0")

# A file of --configfile that names its source is complete; any other changes keys of the demo's.
# The demo's is that of the working directory, or else the one beside this file.
if not any(
    "source" in load_configfile(path) for path in workflow.overwrite_configfiles
):
    demo = Path("config.yaml")

    configfile: demo if demo.is_file() else Path(workflow.basedir, demo)


include: "rules/common.smk"
include: "rules/acquire.smk"
include: "rules/curate.smk"
include: "rules/label.smk"
include: "rules/tokenize.smk"
include: "rules/tokenizers.smk"
include: "rules/train.smk"
include: "rules/evaluate.smk"
include: "rules/generate.smk"
include: "rules/browse.smk"
include: "rules/report.smk"
include: "rules/mini.smk"
include: "rules/messages.smk"


localrules:
    all,
    candidates,
    fetch,  # one address asks, where the internet is
    mini,
    tokenizers,
    # Tables alone: shorter than the wait for a place on a cluster.
    verdict,
    split,
    proof,
    experiments,
    study,
    release,


rule all:
    default_target: True
    input:
        "results/report.html",
        [RESULTS.experiments] if CONFIG.grids else [],
