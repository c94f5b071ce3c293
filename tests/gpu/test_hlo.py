"""What the compile gates read out of an optimised module."""

from scripts.aot.hlo import collectives, is_copy, produced, size_of

WEIGHT, POOL = 64 * 32, 2 * 16 * 128
MODULE = """
%fused_computation (p0: bf16[2,64,32]) -> bf16[64,32] {
  ROOT %slice.1 = bf16[1,64,32]{2,1,0} slice(%p0), slice={[0:1], [0:64], [0:32]}
}

ENTRY %main (w: bf16[2,64,32], pool: bf16[2,16,128]) -> bf16[2,16,128] {
  %w = bf16[2,64,32]{2,1,0} parameter(0)
  %dot = f32[8,256]{1,0} fusion(%w), kind=kCustom, calls=%fused_computation
  %scatter = bf16[2,16,128]{2,1,0} fusion(%pool, %dot), kind=kInput, calls=%fused_computation
  %all-reduce-start = ((f32[8,32]{1,0}), f32[8,32]{1,0}) all-reduce-start(%dot), channel_id=1
  %all-reduce-done = f32[8,32]{1,0} all-reduce-done(%all-reduce-start)
  %sum = f32[8,32]{1,0} all-reduce(%dot), channel_id=2
  ROOT %out = bf16[2,16,128]{2,1,0} bitcast(%scatter)
}
"""
COPIED = MODULE.replace("  ROOT %out", "  %copy.1 = bf16[64,32]{1,0} copy(%slice)\n  ROOT %out")
LARGE = {WEIGHT, POOL}


def test_a_step_without_copies_produces_nothing_large() -> None:
    assert produced(MODULE, LARGE, tokens=8, updated=POOL) == []


def test_a_copied_weight_a_pool_that_is_not_updated_in_place_and_a_slice_are_seen() -> None:
    assert produced(COPIED, LARGE, tokens=8, updated=POOL) == ["copy bf16[64,32]{1,0}"]
    assert produced(MODULE, LARGE, tokens=8) == ["fusion bf16[2,16,128]{2,1,0}"]
    copied_pool = MODULE.replace("bitcast(%scatter)", "copy(%scatter)")
    assert produced(copied_pool, LARGE, tokens=8, updated=POOL) == ["copy bf16[2,16,128]{2,1,0}"]


def test_an_activation_as_large_as_a_weight_is_told_by_its_tokens() -> None:
    assert produced(MODULE, LARGE, tokens=7, updated=POOL) == ["fusion f32[8,256]{1,0}"]


def test_exchanges_are_counted_once_whether_they_are_asynchronous_or_not() -> None:
    assert collectives(MODULE) == {"all-reduce": 2}


def test_copies_and_their_bytes() -> None:
    line = "  %copy.1 = bf16[64,32]{1,0} copy(%slice)"
    assert is_copy(line)
    assert size_of(line) == 4096
    assert not is_copy("  %w = bf16[64,32]{1,0} parameter(0)")
