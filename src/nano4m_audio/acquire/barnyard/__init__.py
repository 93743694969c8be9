"""The barnyard: a deterministic synthetic world of eleven animals, with exact truth."""

from nano4m_audio.acquire.barnyard.sounds import sample_sounds
from nano4m_audio.acquire.barnyard.streams import CLASSES
from nano4m_audio.acquire.barnyard.views import Views, sample_views

__all__ = ["CLASSES", "Views", "sample_sounds", "sample_views"]
