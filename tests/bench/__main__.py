"""Run every benchmark and print its table: `make bench`."""

from tests.bench import cached, memory

for benchmark in (cached, memory):
    print(f"\n{benchmark.__doc__.splitlines()[0]}\n", flush=True)
    benchmark.main()
