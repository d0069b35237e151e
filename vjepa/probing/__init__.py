"""Attentive probes: what the frozen encoder's features say about a clip, beside what random weights say."""
