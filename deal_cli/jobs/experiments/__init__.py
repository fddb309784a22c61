"""Comparisons of trainings and of networks that the documentation quotes."""
