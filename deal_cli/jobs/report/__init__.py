"""`deal report`: two folders side by side on a page."""
