"""Snakemake finds its logger plugins by this name and imports them before it reads anything.

See ``nano4m_audio.terminal`` for what it shows, ``config.snakemake_reading`` for what it reads.
"""

from nano4m_audio.config.snakemake_reading import install
from nano4m_audio.terminal import LogHandler

__all__ = ["LogHandler"]

install()
