"""V-JEPA 2-AC: the action-conditioned world model on a frozen encoder (paper, sec. 3)."""
