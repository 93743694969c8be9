"""One sound compared with many at once says the same as compared with each."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nano4m_audio.curate.sounds import TOLERANCE, Sounds, audio_similarity

LENGTHS = st.lists(st.integers(1, 140), min_size=2, max_size=6)


@given(LENGTHS, st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_many_at_once_are_what_each_is_alone(lengths, seed, steady):
    rng = np.random.default_rng(seed)
    base = np.cumsum(rng.normal(0, 0.1, (200, 16)), axis=0).clip(0, 1)
    sounds = {}
    for number, length in enumerate(lengths):
        start = rng.integers(0, 60)
        piece = base[start : start + length] + rng.normal(0, 0.05, (length, 16))
        sounds[str(number)] = np.zeros((length, 16)) if rng.random() < steady / 2 else piece
    made_ready = Sounds(sounds, {name: {"audio": sound} for name, sound in sounds.items()})
    one, *others = sounds
    alone = [audio_similarity(sounds[one], sounds[other]) for other in others]
    np.testing.assert_allclose(made_ready.compare(one, others), alone, rtol=0, atol=TOLERANCE)
    assert [made_ready.exact(one, other) for other in others] == alone
