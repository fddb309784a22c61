"""The shared engine: picks a backend, runs the network, and brings Frames through it."""
