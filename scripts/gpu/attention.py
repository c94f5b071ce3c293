"""Paged attention on this device: first right, then timed, beside what the same run gets from the card."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import jax
import jax.numpy as jnp

from gpu.attention_cases import CASES, QUICK_CASES, Arrays, Case, make_arrays
from gpu.attention_check import Accuracy, compare, draw
from gpu.attention_program import compile_layers
from gpu.ceilings import Ceilings, measure_ceilings
from gpu.peers import Peer, cudnn, torch_sdpa
from gpu.report import Report
from gpu.timing import Time, measure
from pallas_kernels.paged_attention import PoolLayout, device_layout, implementations


def bench_attention(report: Report, *, quick: bool, implementation: str | None) -> bool:
    """Run every case; True when all outputs are right. Timings of a wrong output are not taken."""
    layout = device_layout(jax.devices()[0])
    ceilings = measure_ceilings(quick=quick)
    report.say(f"copy {ceilings.copy / 1e12:.3f} TB/s, bfloat16 product {ceilings.matmul / 1e12:.1f} TFLOP/s")
    report.add("ceilings", asdict(ceilings))
    report.say(f"implementation: {implementation or implementations(layout)}")
    rows: list[dict[str, Any]] = []
    for index, case in enumerate(QUICK_CASES if quick else CASES):
        rows.append(_run(case, layout, ceilings, implementation, seed=index))
        report.say(_line(rows[-1]))
        report.add("attention", rows)
    print("\n".join(table(rows)))
    return not any(row["problem"] for row in rows)


def _run(case: Case, layout: PoolLayout, ceilings: Ceilings, implementation: str | None, seed: int) -> dict[str, Any]:
    arrays = make_arrays(case, layout, seed)
    accuracy, time = _check_and_time(case, layout, arrays, implementation, seed)
    del arrays
    row: dict[str, Any] = {"case": case.name, **asdict(accuracy), "layers": case.layers}
    if time is not None:
        row |= {"ms": time.median * 1e3, "best_ms": time.best * 1e3, "worst_ms": time.worst * 1e3}
        row |= {"host_ms": time.host * 1e3, **_rates(case, time.median, ceilings)}
    for name, peer in (("cudnn", cudnn), ("torch", torch_sdpa)):
        row[name] = _peer_figures(peer(case))
    return row


def _check_and_time(
    case: Case, layout: PoolLayout, arrays: Arrays, implementation: str | None, seed: int
) -> tuple[Accuracy, Time | None]:
    """Of one layer. The memory that outputs are likely to get is filled with NaN before the checked call."""
    compiled = compile_layers(case, layout, arrays, implementation)
    sample = draw(case, layout, arrays, seed)
    q = arrays.new[0][0]
    poison = [jnp.full(q.shape, jnp.nan, q.dtype) for _ in range(case.layers)]
    jax.block_until_ready(poison)
    del poison
    outputs, pool = compiled(arrays.pool, arrays.new, arrays.sequences)
    accuracy = compare(sample, outputs[-1])
    del outputs
    if accuracy.problem:
        return accuracy, None
    time = measure(lambda pool: compiled(pool, arrays.new, arrays.sequences)[1], pool)
    return accuracy, Time(*(seconds / case.layers for seconds in asdict(time).values()))


def _rates(case: Case, seconds: float, ceilings: Ceilings) -> dict[str, float]:
    """Per second; the share is of the ceiling that binds: bytes for decode, operations for prefill."""
    moved, computed = case.bytes / seconds, case.operations / seconds
    share = moved / ceilings.copy if case.decode else computed / ceilings.matmul
    return {"tb_per_s": moved / 1e12, "tflop_per_s": computed / 1e12, "share": share}


def _peer_figures(peer: Peer) -> dict[str, Any]:
    return {"skipped": peer.reason} if peer.time is None else {"ms": peer.time.median * 1e3}


def _line(row: dict[str, Any]) -> str:
    peers = "  ".join(f"{name}: {_peer_cell(row[name], 'skipped, ')}" for name in ("cudnn", "torch"))
    timed = f"{row['ms']:.4f} ms" if "ms" in row else "not timed"
    return f"{row['case']}: error {row['error']:.1e} {row['problem'] or 'right'}, {timed}; {peers}"


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Markdown: milliseconds a layer; the share is of the copy (decode) or of the matrix product (prefill)."""
    lines = [
        "| case | error (rounding) | ms (best-worst) | TB/s | TFLOP/s | share | host ms | cuDNN ms | torch ms |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [row["case"], f"{row['error']:.1e} ({row['rounding']:.1e})"]
        if "ms" in row:
            cells += [f"{row['ms']:.4f} ({row['best_ms']:.4f}-{row['worst_ms']:.4f})", f"{row['tb_per_s']:.2f}"]
            cells += [f"{row['tflop_per_s']:.1f}", f"{row['share']:.1%}", f"{row['host_ms']:.4f}"]
        else:
            cells += [row["problem"], *[""] * 4]
        lines.append(f"| {' | '.join([*cells, _peer_cell(row['cudnn']), _peer_cell(row['torch'])])} |")
    return lines


def _peer_cell(peer: dict[str, Any], why: str = "") -> str:
    if "ms" in peer:
        return f"{peer['ms']:.4f}"
    return why + peer["skipped"] if why else "-"
