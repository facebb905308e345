"""The ranking of representations by their accuracy to come, and its rivals."""
