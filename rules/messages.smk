"""The last words of a run; what it says on the way is in nano4m_audio/terminal.py."""

from snakemake.logging import logger

from nano4m_audio.terminal import last_words


onsuccess:
    if any(job.rule.name == "report" for job in workflow.dag.jobs):
        words = last_words(RESULTS, SHARDS, next(iter(CONFIG.experiments)))
        logger.info(words, extra={"last_words": words})
