"""Waveforms as embeddings and class scores, by name."""
