"""The run's report: one self-contained page that says what the metrics show, and no more than that."""
