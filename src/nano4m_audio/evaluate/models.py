"""The pretrained models that probes run beside the trained one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nano4m_audio.backends import registry
from nano4m_audio.backends.compute import Compute
from nano4m_audio.config.schema import BACKEND_KEYS
from nano4m_audio.paths import Results
from nano4m_audio.tokenize.names import backend_name


class Models:
    """The backends that the config selects; each is loaded once, when it is first asked for."""

    def __init__(self, results: Results, names: Mapping[str, str], compute: Compute) -> None:
        self.results, self._names, self._compute = results, names, compute
        self._loaded: dict[str, Any] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._names

    def identity(self, key: str) -> str | None:
        """What identifies the output of the backend of a config key; None where there is none."""
        name = self._names.get(key)
        return name and registry.identity(BACKEND_KEYS[key], backend_name(name, self.results))

    def load(self, key: str) -> Any:
        """The backend of a config key, such as "tokenize.audio"."""
        if key not in self._loaded:
            name = backend_name(self._names[key], self.results)
            self._loaded[key] = registry.load(BACKEND_KEYS[key], name, self._compute)
        return self._loaded[key]
