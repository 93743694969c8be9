"""Which keyframes are picked, and that they are what the tokenizers see."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nano4m_audio.paths import Results
from nano4m_audio.tokenize.keyframes import Pick, list_clips, read_all, spread
from tests.report.fake import Fate, write_results


def clips(n: int) -> list[Pick]:
    return [Pick(f"clip{i:04d}", "0000", f"key{i}", tuple(range(10)), {}) for i in range(n)]


@given(st.integers(0, 60), st.integers(1, 400))
def test_spread_takes_many_clips_before_many_keyframes(n: int, most: int):
    picks = spread(clips(n), most)
    assert sum(len(p.keyframes) for p in picks) <= most
    assert len(picks) == len({p.clip_id for p in picks}) == min(n, most)
    for pick in picks:
        assert len(set(pick.keyframes)) == len(pick.keyframes) == min(10, most // len(picks))
        assert set(pick.keyframes) <= set(range(10))


def test_only_clips_of_the_split_that_have_the_modality_are_listed(tmp_path):
    fates = [Fate("pig"), Fate("cat", split="val"), Fate("dog"), Fate("cow", stop="label")]
    results = Results(write_results(tmp_path, fates).results)
    assert [p.clip_id for p in list_clips(results, "rgb", "train")] == [
        "clip0000", "clip0002", "clip0003",
    ]  # fmt: skip
    assert [p.clip_id for p in list_clips(results, "depth", "train")] == ["clip0000", "clip0002"]
    assert [p.clip_id for p in list_clips(results, "normals", "val")] == ["clip0001"]
    assert list_clips(results, "rgb", "test") == []


def test_images_are_read_as_the_tokenizers_see_them(tmp_path):
    fates = [Fate("pig"), Fate("cat"), Fate("dog")]
    results = Results(write_results(tmp_path, fates, heavy=True).results)
    for modality, channels in (("rgb", 3), ("depth", 1), ("normals", 3)):
        listed, store = list_clips(results, modality, "train"), results / "store"
        whole = {p.clip_id: images for p, images in read_all(store, modality, listed)}
        found = list(read_all(store, modality, spread(listed, 6)))
        assert [p.shard for p, _ in found] == ["0000", "0000", "0001"]
        for pick, images in found:
            assert images.shape == (2, channels, 224, 224) and images.dtype == np.float32
            assert abs(images).max() <= 1
            assert np.array_equal(images, whole[pick.clip_id][list(pick.keyframes)])
