"""Objectives: one self-supervised method a file."""
