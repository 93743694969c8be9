"""Every clip is asked for every modality, under masks of the run's own kind."""

from __future__ import annotations

import numpy as np
import pytest

from nano4m_audio.evaluate.masks import draw_masks
from nano4m_audio.nano4m.data import TokenData
from nano4m_audio.nano4m.settings import MaskingConfig
from tests.tokens import MODALITIES


def some_data(n: int = 26) -> TokenData:
    rng = np.random.default_rng(5)
    tokens = {
        m.name: rng.integers(0, m.vocab_size, (n, 1 if m.name == "audio" else 10, m.max_tokens))
        for m in MODALITIES[:4]
    }
    return TokenData(MODALITIES, tokens, [[7] * (3 + i % 4) for i in range(n)])


def masking(inputs, targets, input_alpha, target_alpha, **more) -> MaskingConfig:
    return MaskingConfig(
        input_tokens=inputs,
        target_tokens=targets,
        input_alpha=input_alpha,
        target_alpha=target_alpha,
        **more,
    )


RARE = {m.name: 0.01 for m in MODALITIES}
MOST = {"target_alpha": {**RARE, "depth": 0.5, "normals": 0.5}}
CONFIGS = [
    masking((128, 128), (128, 128), 0.2, 0.2),
    masking((32, 256), (32, 128), 1.0, 1.0, single_source_prob=0.5),
    masking((128, 128), (128, 128), 0.01, 0.01),
    # Half of the masks have only caption targets, and a few of the others audio targets.
    masking(
        (32, 196),
        (4, 128),
        1.0,
        1.0,
        mixture=({"target_alpha": {**RARE, "caption": 50.0}}, {**MOST}),
    ),
]


@pytest.mark.parametrize("config", CONFIGS, ids=["usual", "single", "narrow", "rare"])
def test_every_clip_counts_for_every_modality(config):
    data = some_data()
    counts = np.zeros((len(data), len(MODALITIES)), int)
    for asked in draw_masks(data, config, 0, 3, 32):
        assert len(asked.clips) <= 32
        samples = np.repeat(np.arange(len(asked.clips)), asked.targets.lengths)
        for m in range(len(MODALITIES)):
            has = (
                np.bincount(samples[asked.targets.modalities == m], minlength=len(asked.clips)) > 0
            )
            assert has[asked.used[:, m]].all()
        np.add.at(counts, asked.clips, asked.used)
        rows = data.arrays[1][asked.clips[samples], 0]
        audio = asked.targets.modalities == 1
        chosen = rows[audio, asked.targets.positions[audio]]
        np.testing.assert_array_equal(asked.targets.tokens[audio], chosen)
        assert asked.inputs.lengths.sum() == len(asked.inputs.tokens)
    assert (counts == 3).all()


def test_masks_depend_on_the_seed_alone():
    data = some_data(5)
    first, again, other = (
        np.concatenate([a.targets.positions for a in draw_masks(data, CONFIGS[0], seed, 2, size)])
        for seed, size in ((1, 4), (1, 4), (2, 4))
    )
    np.testing.assert_array_equal(first, again)
    assert first.tolist() != other.tolist()


def test_a_modality_that_is_never_asked_for_is_not_waited_for():
    alphas = {"rgb": 1.0, "audio": 1.0, "depth": 1.0, "normals": 1.0, "caption": 1e-9}
    config = masking((128, 128), (128, 128), 1.0, alphas)
    used = np.concatenate([a.used for a in draw_masks(some_data(4), config, 0, 2, 32)])
    assert used.sum(axis=0).tolist() == [8, 8, 8, 8, 0]
