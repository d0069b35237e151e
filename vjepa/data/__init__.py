"""From raw data sets to episodes, shards and clips."""
