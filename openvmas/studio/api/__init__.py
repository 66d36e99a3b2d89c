"""The HTTP interface of the studio."""
