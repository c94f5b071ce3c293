"""One size of engine for all tests of this folder: the first compiles its programs, the others find them compiled."""

from jaxpaged.config import EngineConfig, ModelConfig, SchedulerConfig

ROWS, STEP, CONTEXT = 8, 32, 256
FLAGS = ("--max-num-seqs", str(ROWS), "--max-num-batched-tokens", str(STEP), "--max-model-len", str(CONTEXT))
CONFIG = EngineConfig(
    ModelConfig(max_model_len=CONTEXT), scheduler=SchedulerConfig(max_num_seqs=ROWS, max_num_batched_tokens=STEP)
)
