"""The stages of a run: what each reads, writes, does and costs."""
