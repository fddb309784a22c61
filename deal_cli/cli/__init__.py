"""The command line: a module a verb, each parses, makes one call and prints."""
