"""V-JEPA 2 pretraining: masks, loss, and what shows a collapse (paper, sec. 2)."""
