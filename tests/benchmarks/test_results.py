"""Rounds, ratios, tables, plots and README's section, from figures that are made up; and README's own."""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from benchmarks import summary
from benchmarks.bench import Bench, Benchmark
from benchmarks.engines import OURS, ROOT, VLLM, Engine, Found
from benchmarks.errors import EngineFailed
from benchmarks.fleet import Fleet
from benchmarks.own_scripts import EVENTS, KERNEL, LAG, read_scheduler
from benchmarks.plots import curves, draw
from benchmarks.results import Results
from benchmarks.rounds import Cell, in_turn, ratio
from benchmarks.run import run_all
from benchmarks.sizes import QUICK
from benchmarks.summary import BEGIN, END, page, put_into_readme, section
from benchmarks.tables import asked_table, missed, number
from benchmarks.targets import ROWS

FOUND = Found((Engine(OURS, "python", "1.0"), Engine(VLLM, "python", "0.32")), {"llama.cpp": "llama.cpp is left out."})


def fleet(tmp_path: Path) -> Fleet:
    return Fleet(FOUND, QUICK, None, "bfloat16", tmp_path)


def streams(bench: Bench) -> list[Cell]:
    speeds = {OURS: 30.0, VLLM: 20.0}
    return bench.in_turn("1 stream", (OURS, VLLM), str, lambda name, index: {"tok_per_s": speeds[name] * (index + 1)})


def broken(bench: Bench) -> list[Cell]:
    raise EngineFailed("it does not start")


def benchmark(name: str, run: Any) -> Benchmark:
    return Benchmark(name, "a test", run, (OURS, VLLM), lambda _: 1)


@pytest.fixture
def results(tmp_path: Path) -> Results:
    made = Results(tmp_path)
    made.begin(FOUND, {"model": "a model", "dtype": "bfloat16", "rounds": 3, "flags": ""})
    return made


def test_engines_take_turns_and_one_that_fails_is_left_out() -> None:
    calls: list[tuple[str, int]] = []

    def measure(name: str, index: int) -> dict[str, float]:
        calls.append((name, index))
        if (name, index) == ("b", 1):
            raise EngineFailed("it has ended")
        return {"figure": 10.0 * index}

    done: list[None] = []
    a, b = in_turn("a case", ("a", "b"), 3, str, measure, nullcontext, lambda: done.append(None))
    assert calls == [("a", 0), ("b", 0), ("b", 1), ("a", 1), ("a", 2)]
    assert (a.median("figure"), a.failed) == (10.0, "")
    assert (b.median("figure"), b.failed) == (0.0, "it has ended")
    assert len(done) == 6


def test_a_ratio_is_the_median_of_the_rounds() -> None:
    """A machine that slows down for a round slows both."""
    ours = Cell("a", OURS, [{"x": 10.0}, {"x": 2.0}, {"x": 12.0}]).plain()
    peer = Cell("a", VLLM, [{"x": 5.0}, {"x": 1.0}, {"x": 4.0}]).plain()
    assert ratio(ours, peer, "x") == 2.0
    assert ratio(ours, peer, "y") is None


def test_a_benchmark_that_fails_does_not_take_the_others_along(results: Results, tmp_path: Path) -> None:
    assert run_all([benchmark("prompts", broken), benchmark("server", streams)], fleet(tmp_path), 3, [], results) == 1
    kept = json.loads(results.path.read_text())["benchmarks"]
    assert (kept["prompts"]["status"], kept["prompts"]["why"]) == ("failed", "EngineFailed: it does not start")
    assert kept["server"]["status"] == "ok"
    assert [cell["figures"]["tok_per_s"] for cell in kept["server"]["cells"]] == [60.0, 40.0]


def test_nothing_is_compared_after_wrong_tokens(results: Results, tmp_path: Path) -> None:
    assert run_all([benchmark("parity", broken), benchmark("server", streams)], fleet(tmp_path), 3, [], results) == 1
    server = results.figures["benchmarks"]["server"]
    assert (server["status"], server["cells"]) == ("skipped", [])
    assert "not the reference's" in server["why"]


def test_earlier_figures_stay_and_parity_counts_for_its_commit(results: Results, tmp_path: Path) -> None:
    run_all([benchmark("parity", lambda bench: [])], fleet(tmp_path), 1, [], results)
    again = Results.of(tmp_path)
    assert again.is_checked()
    run_all([benchmark("server", streams)], fleet(tmp_path), 1, [], again)
    assert set(Results.of(tmp_path).figures["benchmarks"]) == {"parity", "server"}
    again.figures["benchmarks"]["parity"]["commit"] = "another"
    assert not again.is_checked()


def test_what_is_missed_is_bold_and_named(results: Results, tmp_path: Path) -> None:
    run_all([benchmark("server", streams)], fleet(tmp_path), 3, [], results)
    assert "| **1.5**" not in asked_table(results.figures)
    results.figures["benchmarks"]["server"]["cells"][0]["rounds"] = [{"tok_per_s": 22.0}]
    assert "**1.1** / - / - / - / - x" in asked_table(results.figures)
    ((row, check, value),) = missed(results.figures)
    assert (row.what, check.bound, value) == (ROWS[1].what, 1.25, pytest.approx(1.1))
    assert "1.1 x of 1.25" in section(results.figures)


def test_a_command_runs_while_something_is_measured_and_no_longer(tmp_path: Path) -> None:
    ended = tmp_path / "ended"
    command = ["sh", "-c", f"trap 'touch {ended}; exit' TERM; echo quiet; while :; do sleep 0.05; done"]
    bench = Bench(QUICK, fleet(tmp_path), 1, command, lambda: None)
    with bench.quiet():
        assert not ended.exists()
    assert ended.exists()


def test_readmes_section_is_replaced_and_nothing_else(results: Results, tmp_path: Path) -> None:
    run_all([benchmark("server", streams)], fleet(tmp_path), 1, [], results)
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nstale\n{END}\nafter\n")
    put_into_readme(results.figures, readme)
    text = readme.read_text()
    assert text.startswith(f"before\n{BEGIN}\n")
    assert text.endswith(f"{END}\nafter\n")
    assert "stale" not in text
    readme.write_text("no marks")
    with pytest.raises(ValueError, match="put the two marks where it belongs"):
        put_into_readme(results.figures, readme)


def test_pictures_and_the_page_show_what_was_measured(results: Results, tmp_path: Path) -> None:
    cells = [Cell("1 stream", OURS, [{"tok_per_s": 40.0, "ttft_ms_p50": 9.0}])]
    cells += [Cell("16 streams", OURS, [{"tok_per_s": 99.0, "ttft_ms_p50": 90.0}])]
    cells += [Cell("16 streams", VLLM, failed="it has ended")]
    results.add("server", "failed", "vLLM has ended", 1.0, cells)
    assert curves(results.figures, ("server",), "tok_per_s") == {OURS: [(1.0, 40.0), (16.0, 99.0)]}
    assert [path.name for path in draw(results.figures, tmp_path)] == ["streams.png", "growth.png"]
    text = page(results.figures)
    assert "| 16 streams | vLLM |" in text
    assert "it has ended |" in text
    assert "- llama.cpp is left out." in text


def test_what_our_scripts_print_is_read() -> None:
    table = """
| running | schedule us | commit us | pack us | step us, median | step us, mean | target us | add us/request |
|---|---|---|---|---|---|---|---|
| 256 | 100 | 80 | 20 | 201 | 260 | 177 | 3.1 |
"""
    (cell,) = read_scheduler(table)
    assert cell.case == "256 sequences"
    assert cell.rounds == [{"schedule_us": 100, "commit_us": 80, "pack_us": 20, "step_us": 201}]
    assert KERNEL.findall("decode64    1.103 ms/layer  best    1.010  temp") == [("decode64", "1.103")]
    line = "completions: 4 streams, 16 events in 0.01 s: 52012 events/s; front end 12.1 us"
    assert EVENTS.findall(line) == ["52012"]
    assert LAG.findall("event loop lag: p50 0.2 ms, p99 7.1 ms, most 9.0 ms") == ["7.1"]


def test_numbers_have_three_digits() -> None:
    assert [number(value) for value in (0.12345, 5.0, 98.76, 1234.5, 52_012.0)] == [
        "0.123",
        "5",
        "98.8",
        "1,234",
        "52,012",
    ]


def test_readme_shows_the_kept_results_in_ten_rows_at_most() -> None:
    """Else run scripts/bench_all --draw --readme --out jaxpaged/docs/benchmarks."""
    figures = Results.of(ROOT / summary.DOCS).figures
    assert section(figures) in (ROOT / "README.md").read_text(encoding="utf-8")
    assert page(figures) == (ROOT / summary.DOCS / "results.md").read_text(encoding="utf-8")
    assert len(ROWS) <= 10
