"""HEM and its rivals once more, by their definitions: float64, one sample and one class at a time, nothing of hem."""

import math

import torch


def samples(logits, target):
    """Every sample of (N, C, ...) as a list of C numbers and its class, in the order of the flattened target."""
    rows = logits.detach().double().movedim(1, -1).reshape(-1, logits.shape[1])
    return list(zip(rows.tolist(), target.reshape(-1).tolist(), strict=True))


def hem_sample(z, y, margin):
    """ℓ and ∂ℓ/∂z of one sample."""
    e = [0.0 if j == y else max(0.0, z[j] - z[y] + margin) for j in range(len(z))]
    level = sum(e) / len(z)
    hard = [j for j in range(len(z)) if e[j] >= level and e[j] > 0]
    gradient = [0.0] * len(z)
    if not hard:
        return 0.0, gradient
    for j in hard:
        gradient[j] = 1 / len(hard)
    gradient[y] = -1.0
    return sum(e[j] for j in hard) / len(hard), gradient


def hem(logits, target, margin, weight=None, ignore_index=-100):
    """(mean loss, per-sample losses, gradient of the mean); margin and weight: a number or a list by class."""
    losses, gradients, weights = [], [], []
    for z, y in samples(logits, target):
        if y == ignore_index:
            loss, gradient, own = 0.0, [0.0] * len(z), 0.0
        else:
            loss, gradient = hem_sample(z, y, margin[y] if isinstance(margin, list) else margin)
            own = 1.0 if weight is None else weight[y]
        losses.append(loss * own)
        gradients.append([own * g for g in gradient])
        weights.append(own if loss > 0 else 0.0)
    whole = sum(weights) or 1.0
    rows = torch.tensor(gradients, dtype=torch.float64) / whole
    shape = (logits.shape[0], *logits.shape[2:], logits.shape[1])
    per_sample = torch.tensor(losses, dtype=torch.float64).reshape(target.shape)
    return sum(losses) / whole, per_sample, rows.reshape(shape).movedim(-1, 1)


def softmax(z):
    largest = max(z)
    powers = [math.exp(value - largest) for value in z]
    return [power / sum(powers) for power in powers]


def cross_entropy_sample(z, y, smoothing=0.0):
    logs = [math.log(p) for p in softmax(z)]
    return -(1 - smoothing) * logs[y] - smoothing * sum(logs) / len(z)


def mm_sample(z, y, margin):
    return sum(max(0.0, margin - z[y] + z[j]) for j in range(len(z)) if j != y) / len(z)


def logitnorm_sample(z, y, tau):
    norm = math.sqrt(sum(value * value for value in z))
    return cross_entropy_sample([value / (tau * (norm + 1e-7)) for value in z], y)


def logit_adjusted_sample(z, y, log_prior, tau):
    return cross_entropy_sample([value + tau * prior for value, prior in zip(z, log_prior, strict=True)], y)


def ldam_sample(z, y, class_margins, scale):
    return cross_entropy_sample([value - scale * class_margins[y] * (j == y) for j, value in enumerate(z)], y)


def focal_sample(z, y, gamma):
    p = softmax(z)[y]
    return -((1 - p) ** gamma) * math.log(p)


def mean(sample, logits, target, *arguments, weight=None, ignore_index=-100):
    """Σ w_y ℓ / Σ w_y over the samples that are not ignored, 0 without any; and the per-sample w_y ℓ."""
    losses, whole = [], 0.0
    for z, y in samples(logits, target):
        own = 0.0 if y == ignore_index else 1.0 if weight is None else weight[y]
        losses.append(own * sample(z, y, *arguments) if own else 0.0)
        whole += own
    return sum(losses) / (whole or 1.0), torch.tensor(losses, dtype=torch.float64).reshape(target.shape)


def dice(logits, target, smooth, weight=None, ignore_index=-100):
    """Mean over classes, and the classes' 1 − D_c (times their weight)."""
    classes = logits.shape[1]
    predicted, both, present = [0.0] * classes, [0.0] * classes, [0.0] * classes
    for z, y in samples(logits, target):
        if y == ignore_index:
            continue
        p = softmax(z)
        predicted = [total + value for total, value in zip(predicted, p, strict=True)]
        both[y] += p[y]
        present[y] += 1.0
    own = [1.0] * classes if weight is None else weight
    losses = [own[c] * (1 - (2 * both[c] + smooth) / (predicted[c] + present[c] + smooth)) for c in range(classes)]
    return sum(losses) / sum(own), torch.tensor(losses, dtype=torch.float64)
