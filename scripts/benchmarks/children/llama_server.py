"""llama.cpp's server, by the package xllamacpp: `python -m benchmarks.children.llama_server MODEL PORT THREADS ...`."""

from __future__ import annotations

import argparse
import threading

import xllamacpp


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("port", type=int)
    parser.add_argument("threads", type=int)
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--context", type=int, default=32768, help="tokens of all streams")
    options = parser.parse_args()
    params = xllamacpp.CommonParams()
    params.model.path, params.port = options.model, options.port
    params.n_parallel, params.n_ctx, params.kv_unified = options.streams, options.context, True
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = options.threads
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
