"""Distillation methods: one file a method."""
