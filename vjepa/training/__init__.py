"""The one training loop and what it needs: schedule, EMA, checkpoints, log."""
