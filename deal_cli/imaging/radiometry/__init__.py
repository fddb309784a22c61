"""Counts and temperatures: the files of FLIR and DJI cameras."""
