"""The one exception that is shown to the user as a single line instead of a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any


class UserError(Exception):
    """Bad input, config or environment: the message says what was wrong, where, and what to do."""

    exit_status = 1


class ListError(UserError):
    """A list, or a folder, with several things to correct: the message says the first of them."""

    _SHOWN = 5

    def __init__(self, where: object, problems: Sequence[str]) -> None:
        self.where, self.problems = where, list(problems)
        shown = self.problems[: self._SHOWN]
        if len(self.problems) > len(shown):
            shown.append(f"and {len(self.problems) - len(shown)} more")
        super().__init__(f"{where}: " + "\n  ".join(["please correct:", *shown]))


class TryLaterError(UserError):
    """Nothing is wrong here: the same command goes on at another time."""

    exit_status = 75  # EX_TEMPFAIL


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``", did you mean 'x'?"`` for the closest known word, or an empty string."""
    if len(str(word)) > 100:  # comparing takes the product of the lengths, and helps nobody
        return ""
    match = difflib.get_close_matches(str(word), [str(k) for k in known], n=1, cutoff=0.6)
    return f", did you mean {match[0]!r}?" if match else ""


def dotted(path: tuple[Any, ...]) -> str:
    """The name of a key as errors show it; what would break the line or fill the page is quoted."""
    return ".".join(
        part if len(part := str(step)) <= 80 and part.isprintable() else shown(part)
        for step in path
    )


def shown(value: Any) -> str:
    """A value as errors show it, cut to 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
