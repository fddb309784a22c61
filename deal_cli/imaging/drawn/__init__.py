"""Scenes that the program draws itself, and the sample files made of them."""
