"""A server of the Model Context Protocol: assistants score videos of one folder."""
