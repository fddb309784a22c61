"""The method: network, degradations, losses, metrics and weights. Knows no files of pictures."""
