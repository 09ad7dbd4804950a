"""Fitting heads on features, and predicting."""
