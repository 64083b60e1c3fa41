"""Synthetic populations from a region's tables, and how well they fit them."""
