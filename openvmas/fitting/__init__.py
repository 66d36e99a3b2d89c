"""Recorded music that somebody else made, re-arranged to fit a picture."""
