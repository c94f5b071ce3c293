#!/usr/bin/env python
"""What would be made of each config.json in some folders: loads, or refused with which sentence.

    python scripts/check_configs.py FOLDER [FOLDER ...]

Only configurations are read, no weights. The last line counts them; exit code 1 where one ends in no sentence.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

from jaxpaged.errors import ConfigError
from jaxpaged.models.registry import ARCHITECTURES, spec_from_config

LOADS, REFUSED, UNSERVED, BROKEN = "loads", "refused", "unserved", "BROKEN"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    folders = parser.parse_args().folders
    counts = Counter[str]()
    for path in sorted(path for folder in folders for path in folder.rglob("*.json")):
        names, outcome, reason = judge(path)
        counts[outcome] += 1
        print(f"{path.stem:58.58} {names:34.34} {outcome:9} {reason}")
    served = sum(counts.values()) - counts[UNSERVED]
    print(f"{sum(counts.values())} configurations; {served} of served architectures: {dict(counts)}")
    return 1 if counts[BROKEN] else 0


def judge(path: Path) -> tuple[str, str, str]:
    """The architecture that a file names, what happens to it, and the reason or how many layers it has."""
    config = json.loads(path.read_text())
    names = ", ".join(config.get("architectures") or [f"({config.get('model_type')})"])
    try:
        spec = spec_from_config(config)
    except ConfigError as error:
        served = any(name in ARCHITECTURES for name in config.get("architectures") or [])
        return names, REFUSED if served else UNSERVED, str(error)
    except Exception as error:  # noqa: BLE001 - what this script looks for
        return names, BROKEN, repr(error)
    return names, LOADS, f"{len(spec.layers)} layers, {spec.max_position} tokens"


if __name__ == "__main__":
    raise SystemExit(main())
