"""Playing: when and how hard players strike, by style."""
