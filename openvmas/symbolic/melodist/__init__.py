"""Learned melodies: a small Transformer proposes pitches, the rules of melody dispose."""
