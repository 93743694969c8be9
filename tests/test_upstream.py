"""What a rule names of the files that its job reads: enough to wait for, and no more."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from nano4m_audio.audit.proof import proof_files
from nano4m_audio.browser.inputs import page_inputs, shard_inputs
from nano4m_audio.modalities import LABELS, MODALITIES
from nano4m_audio.paths import Results
from nano4m_audio.tables import SCHEMAS
from nano4m_audio.upstream import last_of

RESULTS = Results(Path("results"), planned=tuple(MODALITIES))
NAMES = sorted(SCHEMAS.keys() - {"split"})


def test_a_verdict_waits_for_the_scores_and_the_split_for_the_verdicts():
    scores = ["scores/audio", "scores/visual", "scores/speech", "scores/fingerprints"]
    read = [RESULTS.table(name) for name in ("candidates", "media", "clips", *scores)]
    assert last_of(RESULTS, read) == [RESULTS.table(name) for name in scores]
    read = [path for name in ("candidates", "verdicts") for path in RESULTS.tables(name, 2)]
    assert last_of(RESULTS, read) == RESULTS.tables("verdicts", 2)


def test_tokens_stand_for_what_they_are_made_from():
    tokens = [RESULTS.table(name) for name in RESULTS.token_tables]
    assert last_of(RESULTS, shard_inputs(RESULTS)) == tokens
    clips = [RESULTS.table("selected"), RESULTS.table("clips")]
    assert last_of(RESULTS, clips) == clips[:1]


def test_the_page_waits_for_its_media_and_a_report_for_the_proof():
    assert last_of(RESULTS, page_inputs(RESULTS, 2)) == [
        RESULTS.clip_media(s) for s in ("0000", "0001")
    ]
    read = [RESULTS.proof, *proof_files(RESULTS, 3)]
    assert last_of(RESULTS, read) == [RESULTS.proof]


def test_maps_without_tokens_are_waited_for():
    """A run whose modalities leave depth out has its maps all the same."""
    few = Results(Path("results"), planned=("rgb", "caption"))
    labels = [few.table(f"labels/{name}") for name in LABELS]
    assert set(labels) < set(last_of(few, shard_inputs(few)))


def test_every_file_of_a_run_is_waited_for_and_files_elsewhere_are():
    run = RESULTS.run("base")
    read = [run / "run.json", run / "checkpoint.safetensors", *RESULTS.tables("tokens/rgb", 2)]
    assert last_of(RESULTS, read) == read[:2]
    assert last_of(RESULTS, [Path("/data/clips.csv")]) == [Path("/data/clips.csv")]


@given(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
def test_what_is_left_stands_for_the_rest_in_any_order(names):
    """Nothing is lost: a file that is left out is made before one that is left."""
    paths = [RESULTS.table(name) for name in names]
    left = last_of(RESULTS, paths)
    assert left and set(left) <= set(paths)
    assert set(last_of(RESULTS, reversed(paths))) == set(left)
    assert last_of(RESULTS, left) == left
    for path in set(paths) - set(left):
        assert any(path not in last_of(RESULTS, [path, other]) for other in left)
