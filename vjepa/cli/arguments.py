"""Kinds of arguments that several commands take."""

from __future__ import annotations


def positive(text: str) -> int:
    """A whole number above 0, for argparse."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number
