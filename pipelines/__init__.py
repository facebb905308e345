"""The stages of the pipeline, one module each: `python -m pipelines.STAGE`."""
