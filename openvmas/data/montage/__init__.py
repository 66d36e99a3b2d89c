"""Music videos made by rule from a bank of pictures and footage."""
