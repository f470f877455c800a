"""Training without Ray: `fit` yields (metrics, state) after every epoch, `predict` gives a network's outputs."""

from study.training.loop import NonFiniteLoss, fit
from study.training.prediction import predict, predict_with_features
from study.training.recipe import Recipe

__all__ = ["NonFiniteLoss", "Recipe", "fit", "predict", "predict_with_features"]
