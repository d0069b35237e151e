"""torch -> ONNX: the graphs, their parity with torch, and the bundle that `vjepa.planning` opens."""
