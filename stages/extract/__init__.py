"""Extraction: encoder outputs as Parquet rows."""
