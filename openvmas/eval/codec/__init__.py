"""Quality of the codec on one sound: figures and their page."""
