"""`deal train`: the game of the enhancer and its adversary, on a folder of clean pictures."""
