"""Slow references for voice conversion: Griffin and Lim's loop frame by frame, HiFi-GAN's losses, verification trials."""

from __future__ import annotations

import numpy as np
from scipy.fft import irfft, rfft
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from scipy.signal import get_window
from sklearn.metrics import roc_curve


def transform(wave: np.ndarray, n_fft: int, hop: int) -> np.ndarray:
    """wave (T,) -> complex (n_fft // 2 + 1, 1 + T // hop), a frame at a time."""
    window = get_window("hann", n_fft, fftbins=True)
    padded = np.concatenate([np.zeros(n_fft // 2), wave, np.zeros(n_fft)])
    return np.stack([rfft(padded[t * hop : t * hop + n_fft] * window) for t in range(1 + len(wave) // hop)], axis=1)


def back(spectrum: np.ndarray, n_fft: int, hop: int) -> np.ndarray:
    """complex (K, F) -> ((F - 1) hop,): windowed frames added up, over the sum of the squared windows."""
    window = get_window("hann", n_fft, fftbins=True)
    frames = spectrum.shape[1]
    total, weight = np.zeros((frames - 1) * hop + n_fft), np.zeros((frames - 1) * hop + n_fft)
    for t in range(frames):
        total[t * hop : t * hop + n_fft] += window * irfft(spectrum[:, t], n_fft)
        weight[t * hop : t * hop + n_fft] += window**2
    within = slice(n_fft // 2, n_fft // 2 + (frames - 1) * hop)
    return total[within] / weight[within]


def griffin_lim(magnitude: np.ndarray, phase: np.ndarray, n_fft: int, hop: int, iterations: int) -> list[np.ndarray]:
    """The waveform after 0, 1, .. `iterations` rounds."""
    found = [back(magnitude * np.exp(1j * phase), n_fft, hop)]
    for _ in range(iterations):
        angle = np.angle(transform(found[-1], n_fft, hop))
        found.append(back(magnitude * np.exp(1j * angle), n_fft, hop))
    return found


def convergence(magnitude: np.ndarray, wave: np.ndarray, n_fft: int, hop: int) -> float:
    distance = magnitude - np.abs(transform(wave, n_fft, hop))
    return float(np.sqrt((distance**2).sum() / (magnitude**2).sum()))


def discrimination(real: list[np.ndarray], made: list[np.ndarray]) -> float:
    return sum(
        sum((v - 1) ** 2 for v in r.ravel()) / r.size + sum(v**2 for v in m.ravel()) / m.size for r, m in zip(real, made)
    )


def deception(made: list[np.ndarray]) -> float:
    return sum(sum((v - 1) ** 2 for v in m.ravel()) / m.size for m in made)


def feature_matching(real: list[list[np.ndarray]], made: list[list[np.ndarray]]) -> float:
    total = 0.0
    for one, other in zip(real, made):
        for r, m in zip(one, other):
            total += sum(abs(a - b) for a, b in zip(r.ravel(), m.ravel())) / r.size
    return total


def equal_error_rate(same: np.ndarray, other: np.ndarray) -> float:
    """Where the ROC curve, drawn in straight lines, meets true positives = 1 - false positives."""
    labels = np.concatenate([np.ones(len(same)), np.zeros(len(other))])
    wrong, right, _ = roc_curve(labels, np.concatenate([same, other]), drop_intermediate=False)
    # a curve that rises straight up is no function of x: it is walked along by its length instead
    along = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(wrong), np.diff(right)))])
    x, y = interp1d(along, wrong), interp1d(along, right)
    return float(x(brentq(lambda s: float(x(s) + y(s)) - 1, 0, along[-1])))


def similarity(embedding: np.ndarray, enrolled: np.ndarray, leave: int | None = None) -> float:
    cosines = [
        float(embedding @ e / (np.linalg.norm(embedding) * np.linalg.norm(e))) for i, e in enumerate(enrolled) if i != leave
    ]
    return sum(cosines) / len(cosines)


def convolution(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, dilation: int = 1) -> np.ndarray:
    """x (C, T), weight (O, C, K): the length is kept by zeros on both sides."""
    reach, t = dilation * (weight.shape[2] - 1) // 2, x.shape[1]
    padded = np.pad(x, ((0, 0), (reach, reach)))
    out = np.repeat(bias[:, None], t, axis=1).astype(np.float64)
    for k in range(weight.shape[2]):
        out += weight[:, :, k] @ padded[:, k * dilation : k * dilation + t]
    return out


def transposed(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, rate: int) -> np.ndarray:
    """x (C, T), weight (C, O, 2 rate): each sample lays its kernel down, `rate` on from the last; the middle is kept."""
    t = x.shape[1]
    full = np.zeros((weight.shape[1], (t + 1) * rate))
    for i in range(t):
        full[:, i * rate : (i + 2) * rate] += np.einsum("c,cok->ok", x[:, i], weight)
    first = (rate + 1) // 2
    return full[:, first : first + rate * t] + bias[:, None]


def leaky(x: np.ndarray, slope: float) -> np.ndarray:
    return np.where(x > 0, x, slope * x)


def generator(x: np.ndarray, p: dict[str, np.ndarray], rates: list[int], kernels: int, dilations: list[int]) -> np.ndarray:
    """x (D, N) -> (N * prod(rates),), HiFi-GAN's generator; p: weights and biases by name."""
    h = convolution(x, p["first.weight"], p["first.bias"])
    for i, rate in enumerate(rates):
        h = transposed(leaky(h, 0.1), p[f"ups.{i}.weight"], p[f"ups.{i}.bias"], rate)
        total = np.zeros_like(h)
        for k in range(kernels):
            r = h
            for j, dilation in enumerate(dilations):
                name = f"blocks.{i}.{k}"
                inner = convolution(leaky(r, 0.1), p[f"{name}.first.{j}.weight"], p[f"{name}.first.{j}.bias"], dilation)
                r = r + convolution(leaky(inner, 0.1), p[f"{name}.second.{j}.weight"], p[f"{name}.second.{j}.bias"])
            total += r
        h = total / kernels
    return np.tanh(convolution(leaky(h, 0.01), p["last.weight"], p["last.bias"]))[0]
