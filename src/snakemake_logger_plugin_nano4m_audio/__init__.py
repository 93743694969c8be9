"""Snakemake finds its logger plugins by this name and imports them before it reads anything.

See ``nano4m_audio.terminal`` for what it shows, ``config.snakemake_reading`` for what it reads.
"""

import atexit
import gc

from nano4m_audio.config.snakemake_reading import install
from nano4m_audio.terminal import LogHandler

__all__ = ["LogHandler"]

install()

# A plan is many objects and hardly any garbage: Python looks for that less often, and at the end of
# the process not at all. That saves an eighth of the time of a plan.
gc.set_threshold(50_000, 10, 10)
atexit.register(gc.freeze)
