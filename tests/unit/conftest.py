"""Hypothesis in short for the one at the keyboard, longer where all tests run."""

from __future__ import annotations

import os

from hypothesis import settings

# No deadline: on a loaded machine a slow example is not a wrong one.
settings.register_profile("quick", max_examples=15, deadline=None)
settings.register_profile("full", max_examples=50, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))
