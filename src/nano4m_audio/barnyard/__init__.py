"""The barnyard: a deterministic synthetic world of eleven animals, with exact truth."""

from nano4m_audio.barnyard.sounds import sample_sounds
from nano4m_audio.barnyard.streams import CLASSES
from nano4m_audio.barnyard.views import Views, sample_views

__all__ = ["CLASSES", "Views", "sample_sounds", "sample_views"]
