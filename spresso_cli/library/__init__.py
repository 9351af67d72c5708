"""Whole sound libraries: plans, shards, resume, reports. Drives any codec; no torch here."""
