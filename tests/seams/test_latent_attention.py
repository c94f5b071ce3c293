"""Latent attention served from pages: heads on two devices, one row per token on both."""

from __future__ import annotations

from pathlib import Path

from tests.engine import tiny
from tests.engine.drive import ask, run
from tests.models.case import NEW_TOKENS, write_checkpoint
from tests.models.cases import CASE

PAGE, CHUNK = 8, 8
MATES = ([3, 5, 8, 13, 21], list(range(40, 110)))


def test_chunks_pages_mates_and_prefix_hits_give_the_tokens_of_transformers(tmp_path: Path) -> None:
    golden = write_checkpoint(CASE["minicpm3"], tmp_path)
    engine = tiny.build(
        tmp_path, tiny.GREEDY, block_size=PAGE, max_num_batched_tokens=CHUNK, max_num_seqs=4, tensor_parallel_size=2
    )
    layers, lanes = CASE["minicpm3"].config["num_hidden_layers"], 20 + 8
    geometry = engine.runner.pool.geometry
    assert geometry.page_bytes(0) == layers * PAGE * lanes * 4
    for known in (0, 40 // PAGE * PAGE - PAGE):
        before = engine.stats().prefix_cache_hits
        asked = [ask("ours", golden.prompt, max_tokens=NEW_TOKENS)]
        asked += [ask(f"mate{i}", mate, max_tokens=20) for i, mate in enumerate(MATES)] if not known else []
        assert run(engine, asked)["ours"].tokens == golden.continuation
        assert engine.stats().prefix_cache_hits - before == known
