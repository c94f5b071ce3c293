"""A GGUF file is served: transformers' greedy tokens, from the file alone."""

from pathlib import Path

import pytest

from jaxpaged import LLM, EngineConfig, SamplingParams
from jaxpaged.config import CompileConfig, ModelConfig, SchedulerConfig
from tests.gguf import forward
from tests.gguf.test_checkpoint import config_of
from tests.models.case import LONGEST, NEW_TOKENS, load_golden, make_weights
from tests.models.cases import CASE


@pytest.mark.slow
def test_greedy_tokens(tmp_path: Path) -> None:
    golden, settings = load_golden(CASE["llama"]), config_of("llama")
    tensors = forward.tensors_of(settings, make_weights(CASE["llama"], golden.tensors))
    file = forward.write(tmp_path / "model.gguf", forward.metadata_of(settings), tensors)
    config = EngineConfig(
        ModelConfig(str(file), skip_tokenizer_init=True, download_dir=str(tmp_path), max_model_len=LONGEST),
        scheduler=SchedulerConfig(max_num_seqs=8, max_num_batched_tokens=32),
        compile=CompileConfig(variants=("greedy",), persistent_cache=False),
    )
    llm = LLM.from_config(config, use_tqdm_on_load=False)
    params = SamplingParams(temperature=0, max_tokens=NEW_TOKENS, ignore_eos=True)
    (output,) = llm.generate({"prompt_token_ids": golden.prompt}, params, use_tqdm=False)
    assert list(output.outputs[0].token_ids) == golden.continuation
