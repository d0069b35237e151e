"""V-JEPA 2 as a reproducible pipeline: from raw video and robot episodes to a planner that moves a robot."""

__version__ = "0.1.0"
