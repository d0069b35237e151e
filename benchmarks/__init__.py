"""Speed and memory beside a peer, both sides in one run; none of them is a test. `make bench` runs all."""
