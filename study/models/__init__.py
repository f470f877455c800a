"""Networks: each has features() and head(), and takes images in [0, 1]. `python -m study.models` lists their sizes."""

from study.models.registry import MODELS, ModelSpec, build_model

__all__ = ["MODELS", "ModelSpec", "build_model"]
