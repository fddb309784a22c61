"""The verbs: one job a file, each called by one command."""
