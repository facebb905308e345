"""Files on disk: durable writes, shards, the Gram store and the feature store."""
