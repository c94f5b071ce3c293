#!/usr/bin/env python
"""Writes what `jaxpaged models` prints and jaxpaged/docs/models.md, from the registry and the parity cases.

    python scripts/make_models_table.py

tests/models/test_catalogue.py compares: run this after a family or a part of one has changed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from jaxpaged.models.catalogue import OWN, RECORDED, TRANSFORMERS, Entry, entry  # noqa: E402
from jaxpaged.models.parts import parts_of  # noqa: E402
from jaxpaged.models.registry import ARCHITECTURES, find_architecture, spec_from_config  # noqa: E402
from tests.models.cases import CASES, COMPARED  # noqa: E402
from tests.models.remote_cases import REMOTE_CASES  # noqa: E402

TABLE = ROOT / "jaxpaged" / "docs" / "models.md"
HEAD = """# Models

Every value of `architectures` in a config.json that is served, as `jaxpaged models` lists it
(`--search`, `--moe`, `--mla`, `--json`). [Your own](custom_models.md) are added without a change here.
Written by `python scripts/make_models_table.py`.

Reference: what float32 logits and greedy tokens of a tiny checkpoint are compared with, the class in transformers or
an independent one in our tests. Precisions (bfloat16, float16,
float32), tensor parallel and int8 weights are the same code for all; each is tested on a family for each part, not on
every family. EP: its experts can also be split over the devices (`--enable-expert-parallel`).

| architecture | model_type | reference | EP | parts |
|---|---|---|---|---|
"""


def recorded() -> dict[str, Any]:
    """Architecture -> parts of all cases of its family, and the reference."""
    parts: dict[int, dict[str, None]] = {}
    for case in (*CASES, *REMOTE_CASES):
        family = parts.setdefault(id(find_architecture(case.config)), {})
        family.update(dict.fromkeys(parts_of(spec_from_config(case.config))))
    return {
        name: {
            "parts": list(parts.get(id(ARCHITECTURES[name]), {})),
            "reference": OWN if COMPARED.isdisjoint(ARCHITECTURES[name].names) else TRANSFORMERS,
        }
        for name in sorted(ARCHITECTURES)
    }


def table(recorded: dict[str, Any]) -> str:
    return HEAD + "".join(
        _row(entry(name, ARCHITECTURES[name].model_type, **facts)) + "\n" for name, facts in recorded.items()
    )


def _row(model: Entry) -> str:
    ep = "yes" if model.expert_parallel else ""
    return f"| {model.architecture} | {model.model_type} | {model.reference} | {ep} | {', '.join(model.parts)} |"


def as_json(recorded: dict[str, Any]) -> str:
    """A line for each architecture, so that two branches that add one each merge."""
    lines = (f" {json.dumps(name)}: {json.dumps(facts)}" for name, facts in recorded.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main() -> None:
    facts = recorded()
    RECORDED.write_text(as_json(facts), encoding="utf-8")
    TABLE.write_text(table(facts), encoding="utf-8")


if __name__ == "__main__":
    main()
