"""Training of the codec, and the recorded music that it reads."""
