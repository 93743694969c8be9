"""Check for free memory before libav allocates it: libav takes a refusal for damage, or crashes."""

from __future__ import annotations

import mmap
import resource
from typing import Any

#: What decoding one packet may take: some pictures of up to 16 bits, and a decoder's own tables.
_PICTURE_BYTES_PER_PIXEL = 6
_LEAST_BYTES = 64 << 20
#: A decoder has all the pictures it keeps for reference after so many packets.
_FILLED_PACKETS = 32


def limited() -> bool:
    """Does this process have a limit on its private memory?"""
    return resource.getrlimit(resource.RLIMIT_DATA)[0] != resource.RLIM_INFINITY


def due(n_packets: int) -> bool:
    """Is it time to ask, after so many packets? Always at first, later now and then."""
    return n_packets <= _FILLED_PACKETS or n_packets % _FILLED_PACKETS == 0


def ask_for_pictures(codec_context: Any) -> None:
    """Raise MemoryError when decoding one more packet of a film may not find memory.

    Nothing is touched or kept. It takes a few microseconds.
    """
    pixels = codec_context.width * codec_context.height
    wanted = max(_LEAST_BYTES, _PICTURE_BYTES_PER_PIXEL * pixels)
    try:
        mmap.mmap(-1, wanted, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except OSError as error:
        raise MemoryError(f"no {wanted >> 20} MB for the next packet") from error
