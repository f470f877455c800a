"""The high error margin loss and its rivals, for any PyTorch training script: ``from hem import HEMLoss, hem_loss``."""

from hem.functional import (
    ce_dice_loss,
    ce_loss,
    dice_loss,
    focal_loss,
    hem_loss,
    ldam_loss,
    logit_adjusted_loss,
    logitnorm_loss,
    mm_loss,
)
from hem.losses import (
    CEDICELoss,
    CELoss,
    DICELoss,
    FocalLoss,
    HEMLoss,
    LDAMLoss,
    LogitAdjustedLoss,
    LogitNormLoss,
    MMLoss,
)
from hem.margins import class_balanced_weights, class_margins, hem_margin, ldam_margins, log_prior
from hem.registry import LOSSES, LossSpec, get_loss

__all__ = [
    "LOSSES",
    "CEDICELoss",
    "CELoss",
    "DICELoss",
    "FocalLoss",
    "HEMLoss",
    "LDAMLoss",
    "LogitAdjustedLoss",
    "LogitNormLoss",
    "LossSpec",
    "MMLoss",
    "ce_dice_loss",
    "ce_loss",
    "class_balanced_weights",
    "class_margins",
    "dice_loss",
    "focal_loss",
    "get_loss",
    "hem_loss",
    "hem_margin",
    "ldam_loss",
    "ldam_margins",
    "log_prior",
    "logit_adjusted_loss",
    "logitnorm_loss",
    "mm_loss",
]
