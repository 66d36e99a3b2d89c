"""The synthesiser of the symbolic composer: its presets are data, its sound is made by NumPy."""
