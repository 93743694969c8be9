"""``python -m nano4m_audio.cli``, for launchers that start modules."""

from nano4m_audio.cli.app import main

main()
