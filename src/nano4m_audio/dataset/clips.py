"""``open_dataset``: the clips of a finished results folder as a map-style dataset of PyTorch."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import index
from pathlib import Path
from typing import Any, Literal, SupportsIndex

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch.utils.data import Dataset

from nano4m_audio.backends.gpt2 import PAD
from nano4m_audio.dataset.columns import describe
from nano4m_audio.dataset.media import Media, last_config
from nano4m_audio.errors import UserError, did_you_mean
from nano4m_audio.experiments import modality_table
from nano4m_audio.interchange.layout import widest
from nano4m_audio.media.windows import SAMPLE_RATE_HZ
from nano4m_audio.modalities import KEYFRAMES, MODALITIES
from nano4m_audio.nano4m.data import Ragged, spread_keyframes
from nano4m_audio.nano4m.settings import Modality
from nano4m_audio.paths import Results
from nano4m_audio.tables import read_any, write_table
from nano4m_audio.training import packing
from nano4m_audio.training.token_sets import SPLITS, read_packed

_INDEX = "clips.parquet"


def open_dataset(
    results: str | os.PathLike[str] = "results",
    split: str | None = None,
    modalities: Sequence[str] | None = None,
    keyframes: int | Literal["all"] = 1,
    store: str | os.PathLike[str] | None = None,
) -> TokenDataset:
    """The clips of a finished results folder that have tokens of all modalities, by split and id.

    ``split`` is "train", "val" or "test" (None: all clips), ``modalities`` None all of them.
    ``keyframes`` is how many of the ten of a clip its items have, evenly spread: 1 takes the middle
    one, "all" all ten. Tokens are packed into mapped files of ``store`` (that of the results
    folder) when they are first opened.
    Raises UserError, in one line, for an unknown name, or a folder that has no finished dataset.
    """
    folder = Results(Path(results).absolute())
    if split is not None:
        _known(split, SPLITS, "split")
    names = list(folder.modalities) if modalities is None else _names(modalities)
    for name in names:
        _known(name, folder.modalities, "modality")
    count = KEYFRAMES if keyframes == "all" else keyframes
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= KEYFRAMES:
        raise UserError(f'keyframes = {keyframes!r}: 1 to {KEYFRAMES}, or "all"')
    files = folder.token_files() if folder.split.exists() else {}
    missing = [p for p in [folder.split, *sum(files.values(), [])] if not p.exists()]
    if missing:
        what = missing[0].relative_to(folder.root)
        raise UserError(
            f"{results} holds no finished dataset ({what} is missing): let `snakemake` finish, or "
            "name another folder"
        )
    config = last_config(folder)
    sizes = [Modality(**row) for row in modality_table(config)] if config else widest(files)
    kept = folder.store if store is None else Path(store).absolute()
    found = read_packed(folder.split, files, sizes, kept, in_memory_bytes=-1)
    if found.folder is None:
        raise UserError(f"{results}: no clip has tokens of all {len(files)} modalities")
    if not (found.folder / _INDEX).exists():
        write_table(found.folder / _INDEX, found.clips.select(["clip_id", "class_name", "split"]))
    known = {m.name: m.vocab_size for m in sizes}
    vocab_sizes = {name: known[name] for name in names}
    return TokenDataset(folder, found.folder, split, tuple(names), count, vocab_sizes)


def _names(modalities: Sequence[str]) -> list[str]:
    names = [modalities] if isinstance(modalities, str) else list(dict.fromkeys(modalities))
    if not names:
        raise UserError(f"modalities: name some of {', '.join(MODALITIES)}")
    return names


def _known(name: Any, known: Iterable[str], what: str) -> None:
    names = list(known)
    if name not in names:
        hint = did_you_mean(name, names) or f": it is one of {', '.join(names)}"
        raise UserError(f"{what} {str(name)[:100]!r} is not known{hint}")


@dataclass(frozen=True)
class _Mapped:
    """What a process reads items from; ``first`` is the row of the first clip of the split."""

    clips: pa.Table
    first: int
    arrays: Mapping[str, np.ndarray]
    captions: Ragged


class TokenDataset(Dataset[dict[str, Any]]):
    """Clips of a results folder; made by ``open_dataset``.

    An item is a dict with a tensor, int64, of each modality: ``rgb``, ``depth`` and ``normals``
    [196], or [keyframes, 196] where more than one is asked for; ``audio`` [512]; ``caption`` [n],
    which ``collate`` pads. ``label`` is the place of ``class_name`` in ``classes``, int64 [];
    ``class_name`` and ``clip_id`` are text. With other tokenizers images and audio have as many
    tokens as these make. Pickled it is a few hundred bytes: a worker maps the files anew.
    """

    def __init__(
        self,
        results: Results,
        packed: Path,
        split: str | None,
        modalities: tuple[str, ...],
        keyframes: int,
        vocab_sizes: dict[str, int],
    ) -> None:
        self.results, self.split, self.modalities = results, split, modalities
        self._packed = packed
        #: Which of the ten keyframes of a clip (0..9) the items have.
        self.keyframes: list[int] = spread_keyframes(keyframes, KEYFRAMES)
        #: How many ids a modality has; 65,536 where no config tells of the tokenizer.
        self.vocab_sizes = vocab_sizes

    def __getstate__(self) -> dict[str, Any]:
        opened = ("_mapped", "_media", "classes", "_labels")
        return {name: value for name, value in vars(self).items() if name not in opened}

    def __repr__(self) -> str:
        asked = f"split={self.split!r}, modalities={list(self.modalities)}"
        return f"<{len(self):,} clips of {self.results}, {asked}, keyframes={self.keyframes}>"

    @cached_property
    def _mapped(self) -> _Mapped:
        try:
            grids = [n for n in self.results.modalities if MODALITIES[n].kind != "text"]
            mapped, captions = packing.load(self._packed, grids)
            clips = read_any(self._packed / _INDEX, ["clip_id", "class_name", "split"])
        except FileNotFoundError as error:
            raise UserError(f"{error.filename} is gone: open the dataset again") from None
        first = 0
        if self.split is not None:
            mine = pc.equal(clips["split"], self.split).to_numpy()
            first, clips = int(mine.argmax()), clips.filter(pa.array(mine))
        # A plain view of the same pages: np.memmap itself is slow to index.
        arrays = {name: np.asarray(array) for name, array in mapped.items()}
        return _Mapped(clips.combine_chunks(), first, arrays, captions)

    @cached_property
    def classes(self) -> list[str]:
        """The names of the classes, sorted: those of all splits, so that labels agree."""
        names = read_any(self._packed / _INDEX, ["class_name"])["class_name"]
        return sorted(names.unique().to_pylist())

    @cached_property
    def _labels(self) -> np.ndarray:
        return pc.index_in(self._mapped.clips["class_name"], pa.array(self.classes)).to_numpy()

    @cached_property
    def _media(self) -> Media:
        return Media(self.results)

    @property
    def clip_ids(self) -> list[str]:
        """The ids of the clips, in order."""
        return self._mapped.clips["clip_id"].to_pylist()

    def __len__(self) -> int:
        return len(self._mapped.clips)

    def __getitem__(self, i: SupportsIndex) -> dict[str, Any]:
        place, mapped = self._place(i), self._mapped
        item: dict[str, Any] = {}
        for name in self.modalities:
            item[name] = torch.from_numpy(self.tokens(place, name).astype(np.int64))
        item["label"] = torch.tensor(int(self._labels[place]))
        item["class_name"] = mapped.clips["class_name"][place].as_py()
        item["clip_id"] = mapped.clips["clip_id"][place].as_py()
        return item

    def tokens(self, i: SupportsIndex, name: str) -> np.ndarray:
        """The ids of one modality of a clip as they are kept, unsigned: shapes as in an item."""
        mapped = self._mapped
        row = mapped.first + self._place(i)
        if MODALITIES[name].kind == "text":
            offsets = mapped.captions.offsets
            return mapped.captions.ids[offsets[row] : offsets[row + 1]]
        rows = mapped.arrays[name][row]
        if len(rows) == 1:
            return rows[0]
        return rows[self.keyframes[0]] if len(self.keyframes) == 1 else rows[self.keyframes]

    def _place(self, i: SupportsIndex) -> int:
        place = index(i)
        place += len(self) if place < 0 else 0
        if not 0 <= place < len(self):
            raise IndexError(f"clip {i} of {len(self):,}")
        return place

    def _clip(self, i: SupportsIndex) -> str:
        return self._mapped.clips["clip_id"][self._place(i)].as_py()

    def frame(
        self, i: SupportsIndex, keyframe: int | None = None, modality: str = "rgb"
    ) -> np.ndarray:
        """What the tokens of one keyframe (0..9; the first of ``keyframes``) were made from, or its
        depth or normals in colours: uint8 [224, 224, 3]. Raises UserError where it is not kept."""
        return self._media.frame(self._clip(i), self._chosen(keyframe), modality)

    def _chosen(self, keyframe: int | None) -> int:
        number = self.keyframes[0] if keyframe is None else index(keyframe)
        if not 0 <= number < KEYFRAMES:
            raise UserError(f"keyframe {number}: a clip has 0 to {KEYFRAMES - 1}")
        return number

    def audio(self, i: SupportsIndex, rate_hz: int = SAMPLE_RATE_HZ) -> tuple[np.ndarray, int]:
        """What the audio tokens were made from, mono, float32 [samples] in -1..1, and its rate
        [Hz]. Raises UserError where it is not kept."""
        return self._media.sound(self._clip(i), rate_hz), rate_hz

    def decode(self, modality: str, tokens: Any) -> Any:
        """What tokens stand for, by the tokenizer that made them.

        An image modality: uint8 [224, 224, 3] of tokens [196], [k, 224, 224, 3] of [k, 196]; depth
        and normals in colours. Audio: mono, float32 [samples] of tokens [512], and its rate [Hz].
        Caption: text. Raises UserError for other tokens.
        """
        _known(modality, self.results.modalities, "modality")
        return self._media.decode(modality, np.asarray(tokens))

    def table(self) -> pa.Table:
        """One row per clip, in order: id, video, class, source, split, times, scores (see
        docs/PYTHON.md); ``.to_pandas()`` makes a DataFrame of it. Needs no tokens."""
        return describe(self.results, self.clip_ids)


def collate(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Make a batch of items: ``collate_fn`` of a DataLoader.

    Tensors are stacked. Captions are padded with 50257, the id that the model pads with, to the
    longest: ``caption`` [batch, longest], ``caption_length`` int64 [batch]. Texts become lists.
    """
    batch: dict[str, Any] = {}
    for name in items[0]:
        values = [item[name] for item in items]
        if name == "caption":
            batch[name] = torch.nn.utils.rnn.pad_sequence(values, True, PAD)
            batch["caption_length"] = torch.tensor([len(ids) for ids in values])
        elif isinstance(values[0], torch.Tensor):
            batch[name] = torch.stack(values)
        else:
            batch[name] = values
    return batch
