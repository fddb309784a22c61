"""Weight files: list, verify, fetch, export, bundle."""
