"""config.json files in the form in which models of each family are published (transformers 4 spellings)."""

import json
from pathlib import Path
from typing import Any

# Of the whole model, in millions, as its card states it or its checkpoint holds it.
PARAMETERS = {
    "Llama-3.2-1B": 1236,
    "Mistral-7B-v0.1": 7242,
    "Qwen2.5-0.5B": 494,
    "Qwen3-0.6B": 596,
    "gemma-2-2b": 2614,
    "gemma-3-1b-it": 1000,
    "Phi-3-mini-128k-instruct": 3821,
    "gpt2": 124,
    "gpt-j-6b": 6051,
    "pythia-70m": 70,
    "opt-350m": 331,
    "bloom-560m": 559,
    "granite-3.1-2b-base": 2534,
    "Llama-4-Scout-17B-16E": 107770,
    "Llama-4-Scout-17B-16E-text": 107770,
    "Ministral-3-8B-Base-2512": 8490,
    "gpt-oss-20b-BF16": 20915,
    "Trinity-Mini": 26124,
    "gemma-2b": 2506,
    "starcoder2-3b": 3030,
    "glm-4-9b-chat-hf": 9400,
    "GLM-4-9B-0414": 9400,
    "Minitron-4B-Base": 4190.5,
    "SmolLM3-3B": 3075,
    "EXAONE-4.0-1.2B": 1279,
    "Apertus-8B-2509": 8053,
    "Seed-OSS-36B-Instruct": 36151,
    "ERNIE-4.5-0.3B-PT": 361,
    "AFM-4.5B": 4619,
    "persimmon-8b-base": 9397,
    "OLMo-1B-hf": 1177,
    "OLMo-2-0425-1B": 1485,
    "Olmo-3-1025-7B": 7298,
    "c4ai-command-r-v01": 34981,
    "c4ai-command-r7b-12-2024": 8028,
    "falcon-7b": 6922,
    "falcon-40b": 41303,
    "falcon-rw-1b": 1312,
    "gpt_bigcode-santacoder": 1125,
    "mpt-7b": 6649,
    "mpt-7b-storywriter": 6649,
    "phi-2": 2780,
    "stablelm-3b-4e1t": 2795,
}
# Those whose code lies beside the checkpoint: transformers has no class for them.
REMOTE_PARAMETERS = {
    "chatglm3-6b": 6244,
    "glm-4-9b-chat": 9400,
    "Qwen-7B-Chat": 7721,
    "Baichuan2-7B-Chat": 7506,
    "Baichuan-13B-Chat": 13265,
    "internlm-chat-7b": 7322,
    "MiniCPM3-4B": 4074,
    "DeepSeek-V2-Lite": 15706.5,
    "DeepSeek-V3-bf16": 671026.4,
    "Mistral-Small-4-119B-2603": 118972.8,
    "GLM-4.7-Flash": 29943.4,
}
CONFIGS = Path(__file__).with_name("published_configs")


def _read(name: str) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((CONFIGS / f"{name}.json").read_text())
    return config


PUBLISHED = {name: _read(name) for name in PARAMETERS}
REMOTE_PUBLISHED = {name: _read(name) for name in REMOTE_PARAMETERS}
