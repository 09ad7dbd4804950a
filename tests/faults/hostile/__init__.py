"""Broken and hostile items for the ingest, made from seeds: mutated sources of every reader, and bombs built by hand."""
