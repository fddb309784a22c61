"""Named degradations and the pictures they are tried on: the same pixels on every machine."""
