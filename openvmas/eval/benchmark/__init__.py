"""Systems on a suite of clips: made, measured, compared and resumed."""
