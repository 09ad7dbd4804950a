"""Simulators: corpora made by a program; called simulated wherever their figures appear."""
