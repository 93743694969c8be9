"""Scores of classes: which outputs of a model are a class's own."""

from __future__ import annotations

import numpy as np
import pytest

from nano4m_audio.backends import audioset
from nano4m_audio.backends.compute import Compute
from nano4m_audio.backends.mini.scorer import MiniImageTextScorer
from nano4m_audio.backends.yamnet import Yamnet
from nano4m_audio.cli.app import main
from nano4m_audio.config.curate import AudioStage
from nano4m_audio.curate.score import class_cosines, score_audio, tagger_columns
from nano4m_audio.filters import FILTERS, LABEL_OF
from nano4m_audio.media import windows
from nano4m_audio.media.stored import encode_flac, read_audio
from nano4m_audio.paths import Results
from nano4m_audio.store import RowStore
from nano4m_audio.tables import read_rows, write_rows
from nano4m_audio.taxonomy import SoundClass, class_names, classes_named, known_classes

LABELS = tuple(audioset.labels().values())


def test_labels_of_a_tagger_belong_to_classes():
    columns = tagger_columns(known_classes(), LABELS)
    assert columns["dog"] == [74, 75, 76, 78, 80] and columns["coyote"] == [122, 77]
    assert tagger_columns(classes_named(["frog", "kettle"]), LABELS) == {
        "frog": [LABELS.index("Frog")]
    }


def test_a_tagger_of_the_classes_themselves_is_asked_by_name():
    classes = {**known_classes(), **classes_named(["frog"])}
    columns = tagger_columns(classes, class_names())
    assert columns == {name: [number] for number, name in enumerate(class_names())}


def test_the_small_scorer_knows_its_eleven_classes():
    assert MiniImageTextScorer.load(Compute()).classes == class_names()


def test_a_class_is_as_near_as_its_nearest_prompt_less_what_a_negative_is_nearer():
    one = SoundClass(prompts=("a",))
    two = SoundClass(prompts=("b", "c"), negatives=("d", "e"))
    texts = np.array([[0.1, 0.5, 0.3, 0.2, 0.4], [0.2, 0.1, 0.3, 0.5, 0.0]], np.float32)
    found = class_cosines(texts, [one, two])
    assert found == pytest.approx(np.array([[0.1, 0.5], [0.2, 0.1]]))
    assert found.dtype == np.float32
    alone = class_cosines(texts[:, :1], [one])
    assert np.array_equal(alone, texts[:, :1]), "one prompt and no negative: the cosine itself"


def scored(results, backend, classes):
    settings = AudioStage(backend=backend, classes=classes_named(classes))
    score_audio(results, "0000", settings)
    return read_rows(results.table("scores/audio", "0000"), "scores/audio")


@pytest.fixture
def decoded(tmp_path):
    """One decoded clip of four seconds of noise."""
    results = Results(tmp_path / "results")
    noise = np.random.default_rng(0).normal(0, 0.1, 4 * 32_000).astype(np.float32)
    row = {"key": "k", "status": "ok", "reason": "", "message": "", "duration_s": 4.0}
    RowStore(results.store, "clips", "0000").append(
        [{**row, "frame_times_s": [0.0], "audio_flac": encode_flac(noise, 32_000)}]
    )
    write_rows(results.table("clips", "0000"), "clips", [{"clip_id": "a", **row}])
    return results


def test_music_and_voice_over_are_scores_of_the_taggers_own_labels(
    shared, decoded, tmp_path, monkeypatch
):
    """The largest of any window, also where the tagger knows none of the classes."""
    monkeypatch.setenv("NANO4M_AUDIO_CACHE", str(tmp_path / "cache"))
    files = [str(shared / "models" / name) for name in ("yamnet.tflite", "yamnet_class_map.csv")]
    monkeypatch.setattr("sys.argv", ["nano4m-audio", "weights", "add", "yamnet", *files])
    with pytest.raises(SystemExit, match="0"):
        main()
    (row,) = scored(decoded, "yamnet", ["dog"])
    clip = RowStore(decoded.store, "clips", "0000").read(["k"], ["audio_flac"]).to_pylist()[0]
    audio = read_audio(clip["audio_flac"])
    cuts = np.stack([windows.cut(audio, start) for start in row["window_start_s"]])
    tagger = Yamnet.load(Compute(), shared / "models")
    of_labels = tagger.tag(windows.resample(cuts, tagger.sample_rate_hz))
    for column, label in LABEL_OF.items():
        assert row[column] == of_labels[:, tagger.labels.index(label)].max() > 0
    assert [w[0] for w in row["scores"]] == of_labels[:, [69, 70, 71, 72, 75]].max(1).tolist()
    (none,) = scored(decoded, "yamnet", ["kettle drum of mine"])
    assert (none["labels"], none["scores"]) == ([], [])
    assert [none[c] for c in LABEL_OF] == [row[c] for c in LABEL_OF]


@pytest.mark.parametrize("backend", ["mini", None])
def test_a_tagger_without_these_labels_leaves_their_numbers_out(decoded, backend):
    (row,) = scored(decoded, backend, ["dog"])
    assert row["labels"] == (["dog"] if backend else [])
    assert [row[column] for column in LABEL_OF] == [None, None]


def test_every_label_that_a_number_is_named_after_is_one_of_audioset():
    assert set(LABEL_OF.values()) <= set(LABELS)
    assert {row.column for row in FILTERS} >= set(LABEL_OF)
