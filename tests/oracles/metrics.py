"""Metrics item by item in plain Python, from their definitions."""

from __future__ import annotations

import math


def accuracy(target, prediction, score=None):
    return sum(t == p for t, p in zip(target, prediction, strict=True)) / len(target)


def balanced_accuracy(target, prediction, score=None):
    recalls = []
    for c in set(target):
        mine = [p for t, p in zip(target, prediction, strict=True) if t == c]
        recalls.append(sum(p == c for p in mine) / len(mine))
    return sum(recalls) / len(recalls)


def macro_f1(target, prediction, score=None):
    values = []
    for c in set(target) | set(prediction):
        tp = fp = fn = 0
        for t, p in zip(target, prediction, strict=True):
            tp += t == c and p == c
            fp += t != c and p == c
            fn += t == c and p != c
        precision = tp / (tp + fp) if tp + fp else 0.0
        recall = tp / (tp + fn) if tp + fn else 0.0
        values.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    return sum(values) / len(values)


def auroc(target, prediction, score):
    def pairs(positive, values):
        won = count = 0.0
        for i, p in enumerate(positive):
            for j, q in enumerate(positive):
                if p and not q:
                    won += 1.0 if values[i] > values[j] else 0.5 if values[i] == values[j] else 0.0
                    count += 1
        return won / count

    if len(score[0]) == 2:
        return pairs([t == 1 for t in target], [s[1] for s in score])
    areas = [pairs([t == c for t in target], [s[int(c)] for s in score]) for c in set(target)]
    return sum(areas) / len(areas)


def mae(target, prediction, score=None):
    return sum(abs(t - p) for t, p in zip(target, prediction, strict=True)) / len(target)


def rmse(target, prediction, score=None):
    return math.sqrt(sum((t - p) ** 2 for t, p in zip(target, prediction, strict=True)) / len(target))


def r2(target, prediction, score=None):
    mean = sum(target) / len(target)
    left = sum((t - p) ** 2 for t, p in zip(target, prediction, strict=True))
    return 1 - left / sum((t - mean) ** 2 for t in target)


def pearson(target, prediction, score=None):
    n = len(target)
    mt, mp = sum(target) / n, sum(prediction) / n
    both = sum((t - mt) * (p - mp) for t, p in zip(target, prediction, strict=True))
    return both / math.sqrt(sum((t - mt) ** 2 for t in target) * sum((p - mp) ** 2 for p in prediction))


def position_error(target, prediction, score=None):
    found = _distances(target, prediction, score)
    return sum(found) / len(found)


def position_error_95(target, prediction, score=None):
    """The smallest distance that at most a twentieth of the rows exceed."""
    found = sorted(_distances(target, prediction, score))
    return next(d for d in found if 20 * sum(other > d for other in found) <= len(found))


def _distances(target, prediction, score):
    if score is None:
        return [abs(t - p) for t, p in zip(target, prediction, strict=True)]
    return [math.dist(row[: len(row) // 2], row[len(row) // 2 :]) for row in score]
