"""Hypothesis in short: the unit tests as a whole stay below a few seconds."""

from __future__ import annotations

from hypothesis import settings

# No deadline: on a loaded machine a slow example is not a wrong one.
settings.register_profile("ci", max_examples=50, deadline=None)
settings.load_profile("ci")
