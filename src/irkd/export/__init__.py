"""Turning a network into one file that a device runs."""
