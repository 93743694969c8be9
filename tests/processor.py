"""Settings under which the numerical libraries compute as on a processor one generation older.

    env $(python -m tests.processor) pytest

With AVX-512 they are those of a processor with AVX2, and with AVX2 those of one with neither. What
the processor does not know is not named; one that has neither, or is no x86, is left as it is.
"""

from __future__ import annotations

from collections.abc import Collection

AVX2 = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_CBWR": "AVX2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
}
BASELINE = {
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_CBWR": "COMPATIBLE",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "OPENBLAS_CORETYPE": "Nehalem",
}


def reduced(features: Collection[str], dispatched: Collection[str]) -> dict[str, str]:
    """Environment variables for a processor with ``features``, of which NumPy chooses code by
    ``dispatched``, both under NumPy's names."""
    if "AVX512F" in features:
        level, above = AVX2, ("AVX512", "X86_V4")
    elif "AVX2" in features:
        level, above = BASELINE, ("", "")
    else:
        return {}
    off = [name for name in dispatched if name in features and name.startswith(above)]
    return {**level, "NPY_DISABLE_CPU_FEATURES": ",".join(off)} if off else {}


def here() -> dict[str, str]:
    """The variables for this processor."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    return reduced([name for name, there in __cpu_features__.items() if there], __cpu_dispatch__)


if __name__ == "__main__":
    print(" ".join(f"{name}={value}" for name, value in here().items()))
