"""Records the reference of the parity tests: transformers' float32 logits and greedy tokens for every tiny checkpoint.

    python scripts/make_goldens.py [CASE ...]

Needs torch, transformers, numpy and safetensors, under any Python >= 3.10; jaxpaged itself is not imported. The weights
are not stored: tests/models/case.py makes them again from each tensor's name.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors import safe_open
from safetensors.numpy import save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    PreTrainedConfig,
    PreTrainedModel,
)

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.models.case import GOLDENS, LONGEST, NEW_TOKENS, PROMPT_LEN, VOCAB, Case, make_weights
from tests.models.cases import CASE, CASES

STEP = 7  # logits are kept at every seventh position, at the last of the prompt and at the last of all
SMALLEST_GAP = 1e-3  # between the best two logits, relative to the largest: else rounding might choose the token
FEWEST_TOKENS = 4  # different ones in a continuation
PROMPTS_TRIED = 100
NOT_EAGER = ("falcon_alibi",)  # the eager path of transformers' Falcon adds ALiBi twice, by a mask and by itself


def auto_class(directory: Path) -> type:
    """Some multimodal models are in another table, and some text models in none."""
    config = AutoConfig.from_pretrained(directory)
    tables = (AutoModelForCausalLM, AutoModelForImageTextToText)
    return next((table for table in tables if type(config) in table._model_mapping), None) or ByName


class ByName:
    """What an AutoModel does, for the classes that no table has."""

    @staticmethod
    def from_config(config: PreTrainedConfig) -> PreTrainedModel:
        return getattr(transformers, config.architectures[0])(config)

    @staticmethod
    def from_pretrained(directory: Path, **options: Any) -> PreTrainedModel:
        name = AutoConfig.from_pretrained(directory).architectures[0]
        return getattr(transformers, name).from_pretrained(directory, **options)


def checkpoint_shapes(case: Case, directory: Path) -> dict[str, tuple[int, ...]]:
    """The tensors' names and shapes as transformers writes them to disk."""
    (directory / "config.json").write_text(json.dumps(dict(case.config)))
    model = auto_class(directory).from_config(AutoConfig.from_pretrained(directory))
    model.save_pretrained(directory)
    with safe_open(directory / "model.safetensors", "np") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in sorted(file.keys())}


def load_reference(case: Case, shapes: dict[str, tuple[int, ...]], directory: Path) -> PreTrainedModel:
    (directory / "config.json").write_text(json.dumps(dict(case.config)))
    save_file(make_weights(case, shapes), directory / "model.safetensors", metadata={"format": "pt"})
    attention = "sdpa" if case.name in NOT_EAGER else "eager"
    model = auto_class(directory).from_pretrained(directory, dtype=torch.float32, attn_implementation=attention)
    return model.eval()


def logits_of(model: PreTrainedModel, tokens: torch.Tensor) -> torch.Tensor:
    """[t, vocab] of one sequence, in one forward pass without a cache."""
    with torch.no_grad():
        return model(input_ids=tokens[None], use_cache=False).logits[0]


def freeze_dynamic_rope(case: Case, model: PreTrainedModel) -> None:
    """Bring dynamic rope to the served length: transformers keeps those frequencies for all sequences that follow."""
    rope = case.config.get("rope_parameters", {})
    if rope.get("rope_type") == "dynamic":
        with torch.no_grad():
            model(input_ids=torch.zeros(1, 1, dtype=torch.long), position_ids=torch.tensor([[LONGEST - 1]]))


def continue_greedily(model: PreTrainedModel, prompt: torch.Tensor) -> torch.Tensor:
    out = model.generate(
        prompt[None],
        attention_mask=torch.ones_like(prompt)[None],
        do_sample=False,
        max_new_tokens=NEW_TOKENS,
        min_new_tokens=NEW_TOKENS,
        eos_token_id=None,
        pad_token_id=0,
    )
    return out[0]


def gap(logits: torch.Tensor) -> float:
    """Smallest distance of the best two logits among the rows that choose a token, relative to the largest logit."""
    best = logits[PROMPT_LEN - 1 : -1].topk(2).values
    return float((best[:, 0] - best[:, 1]).min() / logits.abs().max())


def is_telling(tokens: torch.Tensor, logits: torch.Tensor) -> bool:
    """Whether the continuation says much: no near ties, and not the same few tokens over and over."""
    return gap(logits) > SMALLEST_GAP and len(set(tokens[PROMPT_LEN:].tolist())) >= FEWEST_TOKENS


def record(case: Case) -> None:
    with tempfile.TemporaryDirectory() as folder:
        shapes = checkpoint_shapes(case, Path(folder))
        model = load_reference(case, shapes, Path(folder))
    freeze_dynamic_rope(case, model)
    for seed in range(PROMPTS_TRIED):
        prompt = torch.from_numpy(np.random.default_rng(seed).integers(0, VOCAB, PROMPT_LEN))
        tokens = continue_greedily(model, prompt)
        logits = logits_of(model, tokens)
        if is_telling(tokens, logits):
            break
    else:
        raise SystemExit(f"{case.name}: no prompt has a telling continuation")
    if not torch.equal(logits[PROMPT_LEN - 1 : -1].argmax(-1), tokens[PROMPT_LEN:]):
        raise SystemExit(f"{case.name}: transformers disagrees with itself between a cache and none")
    positions = sorted({*range(0, len(tokens), STEP), PROMPT_LEN - 1, len(tokens) - 1})
    np.savez_compressed(
        GOLDENS / f"{case.name}.npz",
        tensors=json.dumps(shapes),
        tokens=tokens.numpy().astype(np.int32),
        positions=np.asarray(positions, np.int32),
        logits=logits[positions].numpy(),
        digest=case.digest(),
    )
    different = len(set(tokens.tolist()[PROMPT_LEN:]))
    print(f"{case.name:16} prompt {seed}, smallest gap {gap(logits):.4f}, {different} different tokens")


def main() -> None:
    GOLDENS.mkdir(exist_ok=True)
    for name in sys.argv[1:] or [case.name for case in CASES]:
        record(CASE[name])


if __name__ == "__main__":
    main()
