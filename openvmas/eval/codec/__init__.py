"""What a codec keeps of a sound."""
