"""Tables, parts of the store, the ledger and token shards, damaged at random places: the same
values, or a line that says which file; never other or fewer ones without a word."""

from __future__ import annotations

import shutil
from pathlib import Path

from nano4m_audio.checked import CheckedFile, DamagedError
from nano4m_audio.errors import UserError
from nano4m_audio.fetch import ledger as ledger_module
from nano4m_audio.fetch.ledger import open_ledger, read_attempts
from nano4m_audio.seals import intact, seal
from nano4m_audio.store import RowStore, publish
from nano4m_audio.tables import read_table
from nano4m_audio.training.token_sets import read_token_sets
from tests.fetch.test_ledger import row
from tests.fuzz.damage import PLAIN, damaged, many
from tests.test_checked import sample_table, write
from tests.test_store import NAME, computing, items_of
from tests.test_token_sets import SPLITS, same
from tests.tokens import MODALITIES, write_tokens


def harm(path: Path, seed: str, others: list[Path]) -> None:
    """Damage a file; now and then exchange it for another one, or take it away."""
    kind = sum(seed.encode()) % 12
    if kind == 0 and others:
        shutil.copy(others[len(seed) % len(others)], path)
    elif kind == 1:
        path.write_bytes(b"")
    else:
        path.write_bytes(damaged(path.read_bytes(), seed, PLAIN))


def test_damaged_tables_have_their_values_or_none(tmp_path):
    path, table = tmp_path / "t.parquet", sample_table()
    write(path, table)
    good, found = path.read_bytes(), 0
    for number in range(many(200, 10_000)):
        path.write_bytes(damaged(good, f"table {number}", PLAIN))
        try:
            with CheckedFile(path) as file:
                assert file.read(table.schema.names).equals(table), number
        except DamagedError as error:
            found += "\n" not in str(error)
        try:
            assert read_table(path, "labels/depth").equals(table), number
        except UserError as error:
            assert str(path) in str(error) and "\n" not in str(error)
    assert found > many(120, 7000)


def test_damaged_parts_are_computed_again(tmp_path, monkeypatch, capsys):
    items = items_of(list(range(7)), 0)
    monkeypatch.setattr("nano4m_audio.store.PART_ROWS", 2)
    first = RowStore(tmp_path / "first", NAME, "0000")
    publish(first, items, computing([]), tmp_path / "before.parquet")
    for number in range(many(12, 600)):
        folder = tmp_path / f"{number}"
        shutil.copytree(tmp_path / "first", folder)
        store = RowStore(folder, NAME, "0000")
        if number % 2:
            store.known()  # it had read the index before
        for part in store.parts()[number % 3 :: 2]:
            harm(part, f"part {number} {part.name[:4]}", store.parts())
        log: list[str] = []
        publish(store, items, computing(log), folder / "after.parquet")
        assert (folder / "after.parquet").read_bytes() == (
            tmp_path / "before.parquet"
        ).read_bytes(), number
        assert not log or "damaged" in capsys.readouterr().err, number
        shutil.rmtree(folder)


def test_a_damaged_ledger_says_what_it_lost(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ledger_module, "PART_ROWS", 4)
    rows = [row(number) for number in range(18)]
    with open_ledger(tmp_path / "first") as ledger:
        for one in rows:
            ledger.append(one)
    parts = sorted((tmp_path / "first").glob("*.parquet"))
    for number in range(many(12, 500)):
        folder = tmp_path / f"{number}"
        shutil.copytree(tmp_path / "first", folder)
        part = folder / parts[number % len(parts)].name
        part.write_bytes(damaged(part.read_bytes(), f"ledger {number}", PLAIN))
        capsys.readouterr()
        try:
            kept = read_attempts(folder)
            said = capsys.readouterr().err
            assert kept == rows or part.name in said, number
            assert [one for one in rows if one in kept] == kept, number
            with open_ledger(folder) as ledger:
                ledger.append(row(99))
            assert part.name in capsys.readouterr().err or kept == rows, number
            assert read_attempts(folder) == [*kept, row(99)], number
        except UserError as error:
            assert str(part) in str(error), number
        shutil.rmtree(folder)


def test_damaged_token_shards_are_named(tmp_path):
    files = write_tokens(tmp_path, SPLITS)

    def pack(store: str):
        return read_token_sets(tmp_path / "split.parquet", files, MODALITIES, tmp_path / store)

    whole, everything = pack("whole"), sorted((tmp_path / "tokens").rglob("*.parquet"))
    for number in range(many(12, 300)):
        shard = [tmp_path / "split.parquet", *everything][number % (1 + len(everything))]
        good = shard.read_bytes()
        harm(shard, f"tokens {number}", [p for p in everything if p != shard])
        try:
            found = pack(f"store{number}")
        except UserError as error:
            assert "\n" not in str(error), number
            assert str(shard) in str(error) or "clip" in str(error), (number, str(error))
        else:
            assert all(same(whole[name], found[name]) for name in whole), number
        shard.write_bytes(good)
        shutil.rmtree(tmp_path / f"store{number}", ignore_errors=True)


def test_damaged_weights_in_the_store_are_set_aside(tmp_path, capsys):
    for number in range(many(30, 1000)):
        path = tmp_path / f"{number}" / "weights"
        path.parent.mkdir()
        path.write_bytes(bytes(range(256)))
        seal(path)
        target = path if number % 2 else path.with_name("weights.sha256")
        target.write_bytes(damaged(target.read_bytes(), f"seal {number}", PLAIN))
        whole = path.read_bytes() == bytes(range(256))
        if not intact(path):
            assert str(path) in capsys.readouterr().err and not path.exists()
        else:
            assert whole, number
