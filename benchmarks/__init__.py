"""Side-by-side speed and memory. Each module prints a table; `make bench` prints them all."""
