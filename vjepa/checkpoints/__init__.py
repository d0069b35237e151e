"""Models on disk, in our own layout and in others'."""
