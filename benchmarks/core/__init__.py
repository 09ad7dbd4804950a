"""What all benchmarks share: cases and their lines, the processes that run them in turn, the table."""
