"""Benchmarks: `make bench`. Timings are ratios within one run; nothing here is a test."""
