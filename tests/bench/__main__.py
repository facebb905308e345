"""Run the named benchmarks, or all of them, and print their tables.

`make bench`, `make bench BENCH="entk cached"`.
"""

import importlib
import sys

ALL = (
    "cached",
    "memory",
    "entk",
    "entk_plan",
    "entk_zoo",
    "entk_growth",
    "entk_cores",
    "paper",
    "ridge",
    "ridge_large",
    "per_target",
    "coverage",
    "paired",
    "balanced",
    "explained",
    "rank",
    "halving",
    "rank_speed",
    "shared_images",
    "coverage_errors",
    "alarms",
    "theory",
    "swaps",
    "page",
    "cuda",
    "products",
    "accuracy",
    "pass_rates",
    "solves",
    "schedule",
    "scale",
)

for name in sys.argv[1:] or ALL:
    benchmark = importlib.import_module(f"tests.bench.{name}")
    print(f"\n{benchmark.__doc__.splitlines()[0]}\n", flush=True)
    benchmark.main()
