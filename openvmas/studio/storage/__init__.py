"""Projects on disk and in SQLite, and the forms in which they leave."""
