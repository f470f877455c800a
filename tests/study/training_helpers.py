"""Data and losses that several training tests share; imported by spawned ranks too."""

from types import SimpleNamespace

import torch
from torch import nn
from torch.nn import functional as F

from study.models import build_model


def accuracy(logits, labels):
    return {"accuracy": float((logits.argmax(1) == labels).mean())}


def random_data(count=48, size=8, channels=1, num_classes=4, seed=0):
    """Images whose mean brightness tells the class, with noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(num_classes, (count,), generator=generator)
    noise = torch.randint(80, (count, size, size, channels), generator=generator)
    images = (noise + labels[:, None, None, None] * 50).to(torch.uint8)
    return SimpleNamespace(images=images, labels=labels)


def network(name="mlp", num_classes=4, size=8, seed=0, head="linear"):
    return build_model(name, shape=(size, size, 1), num_classes=num_classes, head=head, mean=0.4, std=0.3, seed=seed)


class WeightedCE(nn.Module):
    """Cross-entropy with a class weight buffer, as the losses of the study have it."""

    def __init__(self):
        super().__init__()
        self.register_buffer("weight", None)

    def set_class_weight(self, weight):
        self.weight = weight

    def forward(self, logits, target):
        return F.cross_entropy(logits, target, self.weight)


class LearnedTemperature(nn.Module):
    """Cross-entropy of z · exp(a) with a learned a: a loss with a parameter of its own."""

    def __init__(self):
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(()))

    def forward(self, logits, target):
        return F.cross_entropy(logits * self.log_scale.exp(), target)
