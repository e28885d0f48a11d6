"""Pairs of degraded and reference images: read from folders, or made from nothing."""
