"""Nothing compiles after ready (invariant 3), whatever requests ask for."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from jaxpaged.sampling_params import SamplingParams
from tests.engine.fuzz import random_request

ROOT = Path(__file__).resolve().parents[2]
# Of no consequence here: text, the front end's fan-out, grammars and thoughts (tests/structured), what is not served.
NOT_THE_ENGINES = """
n stop include_stop_str_in_output skip_special_tokens spaces_between_special_tokens output_kind stream_interval
watermarking prompt_logprob_token_ids prompt_logprob_start flat_logprobs structured_outputs extra_args
thinking_token_budget repetition_detection routed_experts_prompt_start trace_decode_token_ids
""".split()


def test_500_random_requests_compile_nothing(llama: Path) -> None:
    command = [sys.executable, "-m", "tests.engine.fuzz", str(llama), "500"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["compiles"] == 0
    assert report["reasons"].keys() == {"stop", "length"}
    assert report["aborted"] + sum(report["reasons"].values()) >= 500 + report["samples"]
    assert report["samples"] > 100
    assert report["searches"] > 30
    assert report["aborted"] > 10
    assert report["preemptions"] > 10
    assert report["prefix_hits"] > 100
    assert report["prompts_scored"] > 20
    assert report["variants"] == [0, 1, 2, 3]


def test_the_random_requests_use_every_parameter() -> None:
    rng = np.random.default_rng(0)
    used = set()
    defaults = SamplingParams()
    for i in range(500):
        params = random_request(rng, str(i)).params
        used |= {f.name for f in dataclasses.fields(params) if getattr(params, f.name) != getattr(defaults, f.name)}
    assert {f.name for f in dataclasses.fields(SamplingParams)} - used == set(NOT_THE_ENGINES)
