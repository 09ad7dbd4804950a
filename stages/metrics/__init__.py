"""Metrics of predictions. Shared by fit and evaluate.

A metric is a function of rows: (target (N,), prediction (N,), score (N, C) or None) -> float, with the module's constants LABEL
(class or number) and HIGHER_IS_BETTER. Rows may come in any order and repeat, so a bootstrap sample i of rows is judged as
metric(target[i], prediction[i], score[i]). Where a sample leaves a metric undefined it is not a number, never an error.

A module may say how many samples are judged at once: of_counts, from confusion matrices; of_weights(target, prediction, score,
weights (R, N)) -> (R,), row i weights[r, i] times in sample r, to the last digit what the metric gives; of_sums, the same up to
the order of a sum.
"""
