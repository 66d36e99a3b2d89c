"""Checkpoints to ONNX files and back."""
