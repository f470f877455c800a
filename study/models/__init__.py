"""Networks: each has features() and head(), and takes images in [0, 1]."""

from study.models.layers import Network
from study.models.registry import MODELS, ModelSpec, build_model

__all__ = ["MODELS", "ModelSpec", "Network", "build_model"]
