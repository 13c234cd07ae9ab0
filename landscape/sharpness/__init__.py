"""Sharpness: measures of how flat a minimum is."""
