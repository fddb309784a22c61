"""Where networks run: torch on CPU or CUDA, or ONNX Runtime."""
