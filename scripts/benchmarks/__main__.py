"""Runs every benchmark that this machine allows, with peers beside us where they are installed.

    scripts/bench_all [--only NAME ...] [--rounds 5] [--vllm-python PYTHON --llama-python PYTHON --hf-python PYTHON]
    scripts/bench_all --quick     # a rehearsal with the bundled model
    scripts/bench_all --draw      # run nothing; write tables and plots anew from the figures that are there

OUT gets results.json (whole after every benchmark; those of earlier runs stay), results.md and PNG plots. Engines run
in turn. Nothing is compared before our tokens are the reference's. Exits with 1 when a benchmark or an engine has
failed; the others' figures come out all the same. What each benchmark does: jaxpaged/docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from pathlib import Path

import jaxpaged
from benchmarks.engines import HF, LLAMA, PEERS, ROOT, VLLM, find_engines
from benchmarks.fleet import Fleet, checkpoint
from benchmarks.listing import BENCHMARKS
from benchmarks.plots import draw
from benchmarks.results import Results
from benchmarks.run import run_all
from benchmarks.sizes import FULL, QUICK
from benchmarks.summary import page, put_into_readme


def main() -> int:
    options = arguments()
    results = Results.of(options.out)
    code = 0 if options.draw else measure(options, results)
    write(results, readme=options.readme)
    return code


def measure(options: argparse.Namespace, results: Results) -> int:
    pythons = {VLLM: options.vllm_python, LLAMA: options.llama_python, HF: options.hf_python}
    given = {VLLM: options.vllm_url, LLAMA: options.llama_url}
    urls = {name: url for name, url in given.items() if url}
    found = find_engines({} if options.quick else pythons, jaxpaged.__version__)
    for sentence in found.missing.values():
        print(sentence)
    with tempfile.TemporaryDirectory(prefix="bench-all-") as temporary:
        folder = options.work or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        model = None if options.quick else checkpoint(folder)
        sizes = QUICK if options.quick else FULL
        fleet = Fleet(found, sizes, model, options.dtype, folder, tuple(shlex.split(options.flags)), urls)
        named = "the bundled model" if options.quick else "a Llama of 135 M parameters (smol135)"
        results.begin(found, {"model": named, "dtype": options.dtype, "rounds": options.rounds, "flags": options.flags})
        only = {*options.only, *([] if results.is_checked() else ["parity"])} if options.only else set(names())
        chosen = [one for one in BENCHMARKS if one.name in only]
        return run_all(chosen, fleet, options.rounds, shlex.split(options.hush), results)


def write(results: Results, *, readme: bool) -> None:
    """Tables and plots, from the file: figures are shown as they are kept."""
    figures = Results.of(results.folder).figures
    if "machine" not in figures:
        sys.exit(f"{results.path} holds no figures; run scripts/bench_all without --draw first.")
    text = results.folder / "results.md"
    text.write_text(page(figures), encoding="utf-8")
    print("\n".join(map(str, (results.path, text, *draw(figures, results.folder)))))
    if readme:
        put_into_readme(figures)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "bench_all", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--only", action="append", choices=names(), metavar="NAME", help=f"some of {', '.join(names())}")
    add("--quick", action="store_true", help="a rehearsal: the bundled model, small workloads, no peers")
    add("--rounds", type=int, default=5, help="of a comparison (default: %(default)s)")
    add("--out", type=Path, default=ROOT / "build" / "benchmarks", help="folder of the results (default: %(default)s)")
    add("--work", type=Path, help="folder of the checkpoint and of logs, kept; default: a temporary one")
    add("--dtype", default="bfloat16", help="of every engine (default: %(default)s)")
    add("--flags", default="", help="more flags for our server, in one word")
    add(
        "--hush", default="", metavar="COMMAND", help="runs while something is measured; prints a line when it is quiet"
    )
    for peer, known in PEERS.items():
        add(known.flag, metavar="PYTHON", help=f"the Python of {peer}'s environment")
    for peer in (VLLM, LLAMA):
        add(PEERS[peer].url, metavar="URL", help=f"a server of {peer} that runs already, beside its Python")
    add("--draw", action="store_true", help="run nothing; tables and plots from the figures in OUT")
    add("--readme", action="store_true", help="write README's section from them, too")
    return parser.parse_args()


def names() -> list[str]:
    return [benchmark.name for benchmark in BENCHMARKS]


if __name__ == "__main__":
    sys.exit(main())
