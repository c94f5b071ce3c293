"""`jaxpaged models`, its recorded facts and the table made from them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import make_models_table
from jaxpaged.cli.main import main
from jaxpaged.models.catalogue import RECORDED
from jaxpaged.models.parts import parts_of
from jaxpaged.models.registry import ARCHITECTURES, spec_from_config
from tests.models.cases import CASE


def test_what_is_recorded_is_todays() -> None:
    """Else run `python scripts/make_models_table.py`."""
    facts = make_models_table.recorded()
    assert RECORDED.read_text() == make_models_table.as_json(facts)
    assert make_models_table.TABLE.read_text() == make_models_table.table(facts)


BOTH = ["--moe", "--mla"]


def listed(capsys: pytest.CaptureFixture[str], *options: str) -> list[dict[str, object]]:
    assert main(["models", "--json", *options]) == 0
    found: list[dict[str, object]] = json.loads(capsys.readouterr().out)
    return found


def test_every_architecture_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert [model["architecture"] for model in listed(capsys)] == sorted(ARCHITECTURES)
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == sorted(ARCHITECTURES)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("gemma3", {"Gemma3ForCausalLM"}),
        ("ALIBI", {"BloomForCausalLM"}),
        ("score cap", {"Gemma2ForCausalLM"}),
    ],
)
def test_search_looks_at_names_and_parts(text: str, names: set[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert names <= {model["architecture"] for model in listed(capsys, "--search", text)}
    assert len(listed(capsys, "--search", text)) < len(ARCHITECTURES)


def test_mixtures_of_experts_and_latent_attention_have_flags(capsys: pytest.CaptureFixture[str]) -> None:
    moe, mla, both = ({m["architecture"] for m in listed(capsys, *flags)} for flags in (["--moe"], ["--mla"], BOTH))
    assert {"MixtralForCausalLM", "DeepseekV3ForCausalLM"} <= moe
    assert {"MiniCPM3ForCausalLM", "DeepseekV3ForCausalLM"} <= mla
    assert both == moe & mla
    assert "LlamaForCausalLM" not in moe | mla


def test_nothing_found_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--search", "flux capacitor"]) == 2
    assert "no architecture matches" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("llama", ("attention", "grouped queries", "rope", "RMS norm", "gated MLP")),
        ("gemma2", ("score cap", "logit cap", "sandwich norms", "norms around 0", "window", "tied head")),
        ("phi3_longrope", ("partial rope", "scaled rope", "one key head")),
        ("bloom", ("alibi", "layer norm", "embedding norm", "plain MLP", "qkv bias")),
        ("opt", ("learned positions",)),
        ("gpt_oss", ("sinks", "softmax router", "experts", "clamped SwiGLU")),
        ("afmoe", ("gated output", "NoPE layers", "sigmoid router", "routing scale", "shared experts")),
    ],
)
def test_the_parts_of_a_decoder(name: str, parts: tuple[str, ...]) -> None:
    assert set(parts) <= set(parts_of(spec_from_config(CASE[name].config)))


def test_listing_loads_no_jax() -> None:
    program = (
        "import sys; from jaxpaged.cli.main import main; main(['models']); "
        "sys.exit(sorted({'jax', 'flax', 'transformers'} & set(sys.modules)) or 0)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
