"""Other people's embedders of sound, words and pictures, with weights that the user has on disk."""
