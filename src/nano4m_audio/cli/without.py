"""Keeps a package that is never needed from being imported by a command.

Arrow imports pandas, where that happens to be installed, to see whether a list that it is given is
of pandas. Nothing here is, and it takes a fifth of a second, for each of the thirty jobs of a run.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType


class _Refusal(MetaPathFinder, Loader):
    """Finds a package where it is installed, and fails to import it as if it were not."""

    def __init__(self, package: str) -> None:
        self._package = package

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._package or not PathFinder.find_spec(fullname):
            return None
        return ModuleSpec(fullname, self)

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        raise ModuleNotFoundError(f"{self._package} is not used by commands", name=self._package)


def without(package: str) -> None:
    """Have imports of ``package`` fail from now on, in this process."""
    sys.meta_path.insert(0, _Refusal(package))
