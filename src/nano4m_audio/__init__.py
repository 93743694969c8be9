"""nano4M-Audio: from labelled web video to five-modality tokens, a small 4M model and a report."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nano4m_audio.dataset.clips import TokenDataset, collate, open_dataset

__all__ = ["TokenDataset", "collate", "open_dataset"]


def __getattr__(name: str) -> Any:
    """Import what ``__all__`` names when it is first asked for, so that the package stays light."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from nano4m_audio.dataset import clips

    return getattr(clips, name)
