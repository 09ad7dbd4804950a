"""Heads: one downstream model a file."""
