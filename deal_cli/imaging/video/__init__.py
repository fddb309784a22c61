"""Videos in and out, frame by frame (PyAV)."""
