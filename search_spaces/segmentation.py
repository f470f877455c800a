"""Segmentation of composed scenes: what each preset spends. `scenes` are training images; half as many are for test.

Source of the recipe for PASCAL VOC and of `paper`: mmsegmentation's DeepLabV3 with ResNet-50 (SGD 0.01, momentum 0.9,
weight decay 5e-4, batch 16, 512 x 512 pixels, from ImageNet weights: `--image-size 512 --weights PATH`). Its rate falls
by a power, here by half a cosine. Its training set is VOC's with the SBD's label maps, 10,582 images, of which 15 % are
for validation here.
"""

from search_spaces.presets import CORE, presets
from search_spaces.recipes import recipes

RECIPES = recipes(augmentation="none", batch_size=4, learning_rate=0.2)
RECIPES["voc2012"] = {
    **RECIPES["photographs"],
    "learning_rate": 0.01,
    "weight_decay": 5e-4,
    "batch_size": 16,
    "warmup_epochs": 0,
}

RECIPES["voc2012_aug"] = RECIPES["voc2012"]

_SPECIALISTS = ("focal", "ce_balanced", "ce_dice")

PRESETS = presets(
    {"model": "unet_small", "attacks": "none", "scenes": 400},
    smoke={"epochs": 2, "scenes": 240},
    quick={"epochs": 5, "scenes": 500, "planned_seconds": 11.0},
    full={"losses": CORE + _SPECIALISTS, "epochs": 30, "scenes": 2000},
    paper={
        "dataset": "voc2012_aug",
        "model": "deeplabv3_resnet50",
        "losses": CORE + _SPECIALISTS,
        "epochs": 100,
        "scenes": 4000,
    },
)
