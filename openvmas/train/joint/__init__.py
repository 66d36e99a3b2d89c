"""Joint training of decoder, video encoder and alignment."""
