"""Restoration without learning: what the networks are measured against."""
