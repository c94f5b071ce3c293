"""The ladder of padded sizes."""

import numpy as np
import pytest

from jaxpaged.execution.buckets import Buckets, choose, ladder, sparse
from jaxpaged.execution.runner import backbone_size
from jaxpaged.scheduling.plan import ShardPlan, StepPlan
from tests.execution.plans import Sequence, shard_plan


@pytest.mark.parametrize("largest", [1, 7, 8, 9, 100, 256, 2048])
def test_the_ladder_ends_at_the_limit_and_only_grows(largest):
    sizes = ladder(largest)
    assert sizes[-1] == largest
    assert list(sizes) == sorted(set(sizes))


def test_padding_of_a_decoding_step_is_at_most_a_half():
    sizes = ladder(2048)
    for needed in range(33, 129):
        assert choose(sizes, needed) <= 1.5 * needed


def test_a_size_beyond_the_ladder_is_refused():
    with pytest.raises(ValueError, match="exceeds the largest bucket"):
        choose(ladder(64), 65)


def test_rare_programs_are_few_and_cover_the_limit():
    buckets = Buckets.for_limits(512, 256)
    assert buckets.rare_samples[-1] == 256
    assert len(buckets.rare_samples) < len(buckets.samples)
    assert sparse((8,)) == (8,)


def test_a_small_step_with_a_chunk_takes_the_next_larger_size():
    buckets = Buckets.for_limits(512, 256, decodes_only=64)
    assert [buckets.of_step(tokens, True) for tokens in (1, 8, 9, 64, 65)] == [8, 8, 16, 64, 96]
    assert [buckets.of_step(tokens, False) for tokens in (2, 9, 64, 65, 512)] == [96, 96, 96, 96, 512]
    assert [size for size in buckets.tokens if buckets.holds_decodes_only(size)] == [8, 16, 32, 48, 64]


def test_the_largest_size_holds_every_kind_of_step():
    buckets = Buckets.for_limits(64, 64, decodes_only=64)
    assert not buckets.holds_decodes_only(64)
    assert buckets.of_step(2, False) == 64
    assert Buckets.for_limits(64, 64).of_step(2, False) == 8


def test_a_chunk_on_any_shard_rules_out_a_backbone_for_decodes():
    buckets = Buckets.for_limits(512, 256, decodes_only=64)
    no_writes = (np.zeros((0, 3), np.int32),) * 2
    decode, chunk = (shard_plan([Sequence(1, 3, count, (), True, ())], no_writes) for count in (1, 2))
    sizes = [backbone_size(buckets, StepPlan(1, shards)) for shards in ((decode, ShardPlan.empty(2)), (decode, chunk))]
    assert sizes == [8, 96]
