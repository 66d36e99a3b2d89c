"""From what a picture says and what the user wants to a plan, its file, and the condition that composers read."""
