"""Evaluation: intervals, comparisons, claims and their verdicts."""
