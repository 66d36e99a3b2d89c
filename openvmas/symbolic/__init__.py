"""Music written by rule: a plan and its condition → notes → MIDI, and sound from a small bank of free samples."""
