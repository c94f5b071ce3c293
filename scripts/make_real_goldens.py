"""Records what transformers says of SmolLM2-135M-Instruct, its GGUF dequantized to float32, as tests/real/goldens.json.

    python scripts/make_real_goldens.py DIRECTORY/SmolLM2-135M-Instruct.Q4_1.gguf

Needs torch, transformers and gguf, under any Python >= 3.10; jaxpaged itself is not imported.
"""

import hashlib
import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "real"))
from prompts import NEW_TOKENS, PROMPTS

GOLDENS = Path(__file__).resolve().parents[1] / "tests" / "real" / "goldens.json"
SMALLEST_GAP = 1e-3  # between the log probabilities of the best two tokens: else rounding might choose


def main() -> None:
    file = Path(sys.argv[1])
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    model = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    goldens = {name: record(model, prompt_ids(tokenizer, prompt)) for name, prompt in PROMPTS.items()}
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    content = json.dumps({"sha256": digest, "prompts": goldens}, indent=1)
    GOLDENS.write_text(content + "\n", encoding="utf-8")


def prompt_ids(tokenizer, prompt) -> list[int]:
    if isinstance(prompt, str):
        return tokenizer.encode(prompt)
    text = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False)
    return tokenizer.encode(text, add_special_tokens=False)


def record(model, prompt: list[int]) -> dict[str, list]:
    """Greedy tokens, and the log probability of each; no token ends the answer."""
    out = model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        do_sample=False,
        max_new_tokens=NEW_TOKENS,
        min_new_tokens=NEW_TOKENS,
        eos_token_id=None,
        pad_token_id=0,
    )[0]
    with torch.no_grad():
        logits = model(input_ids=out[None], use_cache=False).logits[0, len(prompt) - 1 : -1]
    log_probabilities = logits.log_softmax(-1)
    best = log_probabilities.topk(2)
    tokens = out[len(prompt) :]
    gap = float((best.values[:, 0] - best.values[:, 1]).min())
    if gap < SMALLEST_GAP or not torch.equal(best.indices[:, 0], tokens):
        raise SystemExit(f"a prompt of {len(prompt)} tokens has a near tie ({gap:.5f}); choose another one")
    chosen = best.values[:, 0].tolist()
    print(f"{len(prompt)} prompt tokens, smallest gap {gap:.4f}: {out[len(prompt) :].tolist()[:8]} ...", flush=True)
    return {"prompt": prompt, "tokens": tokens.tolist(), "logprobs": [round(value, 6) for value in chosen]}


if __name__ == "__main__":
    main()
