"""Settings of all tests."""

from __future__ import annotations

from hypothesis import settings

# A busy machine is no counterexample.
settings.register_profile("spresso", deadline=None)
settings.load_profile("spresso")
