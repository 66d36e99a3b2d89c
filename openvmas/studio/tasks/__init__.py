"""The work of the studio's jobs, and the sandbox that opens users' files."""
