"""Metrics of predictions. Shared by fit and evaluate.

A metric is a function of rows: (target (N,), prediction (N,), score (N, C) or None) -> float, with the module's constants LABEL
(class or number) and HIGHER_IS_BETTER. Rows may come in any order and repeat, so a bootstrap sample i of rows is judged as
metric(target[i], prediction[i], score[i]). Where a sample leaves a metric undefined it is not a number, never an error.
"""
