"""Snakemake finds its logger plugins by this name; see ``nano4m_audio.terminal``."""

from nano4m_audio.terminal import LogHandler

__all__ = ["LogHandler"]
