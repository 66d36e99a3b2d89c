"""Training of the decoder on codes of music."""
