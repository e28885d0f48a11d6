"""Restoration networks: one file a family, and what reads their weights."""
