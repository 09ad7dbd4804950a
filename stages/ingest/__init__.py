"""Ingest: sources, readers, splits, duplicates, quarantine; out come corpora in Parquet."""
