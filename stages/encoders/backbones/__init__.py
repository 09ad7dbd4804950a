"""Backbones: one network a file."""
