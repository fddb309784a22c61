"""Files in, files out: what restoring and degrading folders have in common."""
