"""Page counts: exact, coarse, and refused with numbers when a request cannot fit; the context that fits."""

import jax.numpy as jnp
import pytest

from jaxpaged.config import CacheConfig, SchedulerLimits
from jaxpaged.errors import MemoryPlanError
from jaxpaged.execution.memory import (
    GIB,
    LEAST_CONTEXT,
    GroupDemand,
    MemoryPlanner,
    MemoryUse,
    coarse,
    longest_that_fits,
    plan_memory,
)
from jaxpaged.kv.latent import LatentSpec
from jaxpaged.kv.pool import PoolGeometry
from jaxpaged.kv.spec import FullAttentionSpec, cache_groups
from jaxpaged.sharding.mesh import make_mesh
from pallas_kernels.paged_attention import pool_layout

FULL = GroupDemand(page_bytes=1 << 20, pages_per_request=64, most_pages=1 << 30)


DEFAULT = CacheConfig()


def plan(config=DEFAULT, groups=(FULL,), **sizes):
    known = {"platform": "gpu", "capacity": 80 * GIB, "weights": 16 * GIB, "state": GIB, "temporaries": GIB} | sizes
    return plan_memory(config, groups, **known)


def test_every_byte_is_accounted_for_within_the_share():
    made = plan()
    used = made.weights + made.state + made.temporaries + made.reserve + made.kv
    assert used <= 0.92 * made.capacity
    assert used >= 0.92 * made.capacity * 0.96  # the coarse ladder costs at most one step of about 3 %
    table = made.table(32, [64])
    assert "weights          16.00 GiB" in table
    assert "full-length requests" in table


def test_a_few_bytes_more_or_less_give_the_same_shapes():
    assert plan(weights=16 * GIB).num_pages == plan(weights=16 * GIB - (3 << 20)).num_pages


@pytest.mark.parametrize("pages", [1, 63, 64, 1000, 123_456])
def test_the_ladder_is_coarse_but_close(pages):
    assert pages * 31 / 32 <= coarse(pages) <= pages


def test_a_window_group_takes_no_more_than_it_can_use():
    window = GroupDemand(page_bytes=1 << 20, pages_per_request=4, most_pages=1000)
    full_pages, window_pages = plan(groups=(FULL, window)).num_pages
    assert window_pages == 1000
    assert full_pages > 50_000


def test_too_little_memory_names_the_numbers_and_the_mend():
    with pytest.raises(MemoryPlanError, match=r"needs 6\d\.\d\d MiB .* Lower max_model_len"):
        plan(CacheConfig(kv_cache_memory_bytes=1 << 20))
    with pytest.raises(MemoryPlanError, match=r"but 10 bytes are left for them\. Raise kv_cache_memory_bytes or use"):
        plan(CacheConfig(kv_cache_memory_bytes=10))
    with pytest.raises(MemoryPlanError, match="num_gpu_blocks_override=8"):
        plan(CacheConfig(num_gpu_blocks_override=8))


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (CacheConfig(num_gpu_blocks_override=2**20), "num_gpu_blocks_override=1048576"),
        (CacheConfig(kv_cache_memory_bytes=2**40), "kv_cache_memory_bytes=1099511627776"),
    ],
)
@pytest.mark.parametrize("platform", ["gpu", "cpu"])
def test_more_than_the_memory_is_one_sentence(config: CacheConfig, name: str, platform: str) -> None:
    with pytest.raises(MemoryPlanError, match=name) as caught:
        plan(config, platform=platform)
    assert "GiB beside the weights; lower it" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("step", [16, 32, 64])
@pytest.mark.parametrize("limit", [LEAST_CONTEXT, 300, 1000, 4096, 4095, 100_000])
def test_the_context_is_the_longest_multiple_that_fits(limit: int, step: int) -> None:
    found = longest_that_fits(lambda tokens: tokens <= limit, 100_000, step)
    assert found == min(limit, 99_999) // step * step


def test_the_context_is_always_shorter_than_what_did_not_fit() -> None:
    assert longest_that_fits(lambda tokens: True, 1024, 32) == 992


def test_too_little_is_no_context() -> None:
    assert longest_that_fits(lambda tokens: tokens < LEAST_CONTEXT, 4096, 32) is None
    assert longest_that_fits(lambda tokens: False, 4096, 32) is None
    assert longest_that_fits(lambda tokens: True, 32, 32) is None


@pytest.mark.parametrize("given", [None, 6 * GIB])
def test_devices_of_one_cpu_share_its_memory_and_the_pools_budget(given: int | None) -> None:
    config, group = CacheConfig(kv_cache_memory_bytes=given), GroupDemand(1 << 20, 8, 1 << 20)
    sizes = {"platform": "cpu", "capacity": 64 * GIB, "weights": 0, "state": 0, "temporaries": 0}
    alone, shared = (plan_memory(config, [group], **sizes, devices_per_host=count) for count in (1, 4))
    assert alone.kv == (given or 2 * GIB)
    assert shared.kv == alone.kv // 4
    assert shared.capacity == alone.capacity // 4


@pytest.mark.parametrize(
    ("devices", "line"),
    [
        (1, "a token takes 1.25 KiB of KV pages on a device"),
        (2, "a token takes 768 bytes of KV pages on a device, 256 bytes of that the same on all 2 (latent rows"),
    ],
)
def test_the_table_says_what_a_token_takes_and_what_devices_repeat(devices: int, line: str) -> None:
    """Two layers of 4 heads of 32, two of 64 latent lanes, in two bytes."""
    groups = cache_groups([FullAttentionSpec(4, 32), LatentSpec(64)] * 2)
    pool = PoolGeometry(groups, pool_layout("cpu"), 16, jnp.dtype("bfloat16"), make_mesh(devices))
    planner = MemoryPlanner(DEFAULT, SchedulerLimits(max_num_seqs=4, max_num_batched_tokens=64), pool, 1 << 20)
    table = planner.table(planner.plan(128, MemoryUse()), 128)
    assert line in table
    assert ("the same" in table) == (devices > 1)
