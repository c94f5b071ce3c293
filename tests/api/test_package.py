"""`import jaxpaged` gives every public name, and costs next to nothing until one is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import jaxpaged


def test_the_import_loads_no_heavy_library() -> None:
    program = (
        "import sys, jaxpaged; from jaxpaged import SamplingParams, RequestOutput, EngineConfig, ConfigError; "
        "print(sorted({'jax', 'transformers', 'tokenizers', 'fastapi', 'torch'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_the_engine_leaves_to_their_use_what_takes_long_to_import() -> None:
    program = (
        "import sys; from jaxpaged import LLM, AsyncLLM; "
        "late = {'orbax', 'huggingface_hub', 'transformers', 'torch', 'jax.experimental.pallas'}; "
        "print(sorted(late & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("name", [name for name in jaxpaged.__all__ if name != "__version__"])
def test_every_public_name_is_there(name) -> None:
    assert name in dir(jaxpaged)
    value = getattr(jaxpaged, name)
    assert isinstance(value, str) or value.__module__.startswith("jaxpaged") or name == "PromptType"


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = jaxpaged.Nothing
