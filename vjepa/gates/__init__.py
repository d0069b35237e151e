"""Data gates: Great Expectations over the shards, so that nothing learns from data that are not what they should be."""
