"""Sources: where the files of a corpus come from."""
