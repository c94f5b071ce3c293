"""Every benchmark that the machine allows, with peers beside us: see scripts/bench_all."""
