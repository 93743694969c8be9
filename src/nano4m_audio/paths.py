"""Where every artifact lies under a results folder: the stages and the rules ask here.

With the shard ``"{shard}"`` a path is the pattern of a Snakemake rule.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from nano4m_audio.modalities import MODALITIES


def shard_names(n_shards: int) -> list[str]:
    """``["0000", "0001", ...]``: the values of the ``{shard}`` wildcard."""
    return [f"{i:04d}" for i in range(n_shards)]


@dataclass(frozen=True)
class Results(os.PathLike[str]):
    """A results folder. ``planned`` are the modalities of a run that has not made them yet."""

    root: Path = Path("results")
    planned: tuple[str, ...] | None = None

    def __fspath__(self) -> str:
        return str(self.root)

    def __str__(self) -> str:
        return str(self.root)

    def __truediv__(self, name: str) -> Path:
        return self.root / name

    def table(self, name: str, shard: str = "{shard}") -> Path:
        """One shard of an artifact of tables.SCHEMAS, such as "clips" or "tokens/rgb"."""
        return self.root / name / f"{shard}.parquet"

    @property
    def shards(self) -> list[str]:
        """The names of the shards that the folder has. Raises UserError where there are none."""
        from nano4m_audio.shards import count_shards

        return shard_names(count_shards(self.root))

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities that the folder has, or is planned to have, in the order of the engine."""
        if self.planned is not None:
            return self.planned
        return tuple(
            name
            for name, row in MODALITIES.items()
            if not row.optional or any((self.root / "tokens" / name).glob("*.parquet"))
        )

    @property
    def token_tables(self) -> tuple[str, ...]:
        """The names of the artifacts with their tokens."""
        return tuple(f"tokens/{name}" for name in self.modalities)

    def tables(self, name: str, n_shards: int | None = None) -> list[Path]:
        """All shards of an artifact, in order; ``n_shards`` where they are not made yet."""
        shards = self.shards if n_shards is None else shard_names(n_shards)
        return [self.table(name, shard) for shard in shards]

    def token_files(self, n_shards: int | None = None) -> dict[str, list[Path]]:
        """The shards of every modality's token table."""
        return {name: self.tables(f"tokens/{name}", n_shards) for name in self.modalities}

    @property
    def split(self) -> Path:
        return self.root / "split.parquet"

    @property
    def listing(self) -> Path:
        """What the listing of the source left out, and how videos are known."""
        return self.root / "candidates" / "listing.json"

    @property
    def store(self) -> Path:
        """Finished rows and files, by content key."""
        return self.root / "store"

    @property
    def ledger(self) -> Path:
        """What was asked of the web, and what it answered."""
        return self.root / "web" / "ledger"

    @property
    def fetched(self) -> Path:
        """How many answers the ledger has: the report, which tells of them, follows it."""
        return self.root / "web" / "fetched.json"

    @property
    def settings(self) -> Path:
        """What the stages were told."""
        return self.root / "settings"

    @property
    def journal(self) -> Path:
        """What the last run planned, and what became of its jobs."""
        return self.root / "logs" / "run.jsonl"

    @property
    def proof(self) -> Path:
        """Every claim about the tables, and on how many rows it was checked."""
        return self.root / "proof.json"

    @property
    def release(self) -> Path:
        """The folder for others: who, when, which numbers and hashes; no media."""
        return self.root / "release"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    @property
    def clips_page(self) -> Path:
        """The page on which every clip can be seen and heard."""
        return self.root / "clips.html"

    def clip_media(self, shard: str = "{shard}") -> Path:
        """Which pictures and sounds that page has of a shard's clips; they are in the folder of
        the same name."""
        return self.root / "clips_media" / f"{shard}.json"

    @property
    def experiments(self) -> Path:
        """The page that compares runs."""
        return self.root / "experiments.html"

    @property
    def study(self) -> Path:
        """What the experiments say of a question, and of the levers that were tried."""
        return self.root / "study.md"

    def run(self, experiment: str) -> Path:
        """The folder of a training run."""
        return self.root / "runs" / experiment

    def probe(self, experiment: str, probe: str) -> Path:
        return self.root / "evaluation" / experiment / f"{probe}.json"

    def generated(self, experiment: str) -> Path:
        """The folder of what a run's model made for the report."""
        return self.root / "generated" / experiment

    def tokenizer(self, name: str) -> Path:
        """The folder of a tokenizer that is trained on the run's frames."""
        return self.root / "tokenizers" / name

    def quality(self, modality: str, tokenizer: str) -> Path:
        """The quality of a tokenizer of the config; its examples are in the PNG beside it."""
        return self.root / "quality" / modality / f"{tokenizer.replace(':', '-')}.json"
