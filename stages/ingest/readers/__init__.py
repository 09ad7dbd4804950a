"""Readers: from files to items with ids, groups, labels and media."""
