"""YAMNet hears what is in real clips, and its outputs are named rightly."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from nano4m_audio.acquire.decode import decode_clip
from nano4m_audio.backends import yamnet
from nano4m_audio.backends.compute import Compute
from nano4m_audio.backends.yamnet import Yamnet, patches, read_labels
from nano4m_audio.curate.score import tagger_columns
from nano4m_audio.errors import UserError
from nano4m_audio.media import windows
from nano4m_audio.media.stored import read_audio
from nano4m_audio.taxonomy import known_classes

N = yamnet.PATCH_SAMPLES


@pytest.fixture(scope="module")
def tagger(shared):
    return Yamnet.load(Compute(), shared / "models")


def clips(shared, kind):
    with open(shared / "media/clips.csv", newline="") as handle:
        return [row for row in csv.DictReader(handle) if row["kind"] == kind]


def waveforms(shared, row, hop_s):
    """The windows of a clip as the score stage cuts them, at 16 kHz."""
    clip = decode_clip(shared / "media" / row["file"])
    audio = read_audio(clip.audio_flac)
    starts = windows.window_starts(clip.duration_s, hop_s)
    return windows.resample(np.stack([windows.cut(audio, s) for s in starts]), 16_000)


def test_every_label_is_the_one_that_audioset_names(shared):
    with open(shared / "metadata/audioset/class_labels_indices.csv", newline="") as handle:
        audioset = {row["mid"]: row["display_name"] for row in csv.DictReader(handle)}
    with open(shared / "models" / yamnet.CLASS_MAP, newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert len(audioset) == 527
    assert all(audioset[row["mid"]] == row["display_name"] for row in rows)
    labels = read_labels(shared / "models" / yamnet.CLASS_MAP)
    assert labels == tuple(row["display_name"] for row in rows)
    assert all(set(entry.audioset) <= set(labels) for entry in known_classes().values())


def test_another_class_map_is_refused(shared, tmp_path):
    text = (shared / "models" / yamnet.CLASS_MAP).read_text()
    lines = text.splitlines(keepends=True)
    swapped = [*lines[:70], lines[71], lines[70], *lines[72:]]
    for wrong in ("".join(swapped), "".join(lines[:-1]), text.replace("Oink", "Honk")):
        (tmp_path / "map.csv").write_text(wrong)
        with pytest.raises(UserError, match=r"not the 521 outputs|is not 'Honk' in AudioSet"):
            read_labels(tmp_path / "map.csv")


def test_a_damaged_network_is_one_line(shared, tmp_path):
    data = (shared / "models" / yamnet.MODEL).read_bytes()
    (tmp_path / yamnet.MODEL).write_bytes(data[:1000])
    with pytest.raises(UserError, match="is not a TensorFlow Lite file"):
        Yamnet.load(Compute(), tmp_path)


def test_patches_cover_a_window():
    window = np.arange(round(windows.WINDOW_S * 16_000), dtype=np.float32)
    pieces = patches(window)
    assert [int(p[0]) for p in pieces] == [0, 7680, 15360, 23040, 30720, 38400]
    assert all(len(p) == N for p in pieces)
    assert len(window) - pieces[-1][-1] < 0.04 * 16_000
    assert [len(p) for p in patches(window[:100])] == [N]


def test_scores_do_not_depend_on_the_batch(shared, tagger):
    batch = waveforms(shared, clips(shared, "good")[0], 2.0)
    scores = tagger.tag(batch)
    assert scores.shape == (4, 521) and scores.dtype == np.float32
    assert scores.min() >= 0 and scores.max() <= 1
    for waveform, row in zip(batch, scores, strict=True):
        assert np.array_equal(tagger.tag(waveform[None])[0], row)


@pytest.mark.slow
def test_it_hears_the_animal_in_good_clips_and_not_in_wrong_ones(shared, tagger):
    """The class is among the five highest labels of >= 57 of 60 good clips and
    of none of the five with another sound. Its class score tells the two apart by a wide margin."""
    columns = tagger_columns(known_classes(), tagger.labels)
    top5: dict[str, int] = {}
    scores: dict[str, list[float]] = {}
    for kind in ("good", "wrong_sound"):
        top5[kind], scores[kind] = 0, []
        for row in clips(shared, kind):
            best = tagger.tag(waveforms(shared, row, 1.6)).max(0)
            mine = columns[row["class"]]
            top5[kind] += bool(set(mine) & set(np.argsort(best)[-5:].tolist()))
            scores[kind].append(best[mine].max())
    assert top5["good"] >= 57 and len(scores["good"]) == 60
    assert top5["wrong_sound"] == 0 and len(scores["wrong_sound"]) == 5
    assert min(scores["good"]) > 0.5 and max(scores["wrong_sound"]) < 0.1
