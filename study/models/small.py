"""Two networks that train in seconds on one core: a multi-layer perceptron and a small convolutional network."""

from torch import nn

MLP_WIDTH = 256
SMALL_CNN_WIDTHS = (16, 32, 64)


def mlp_body(shape: tuple[int, int, int]) -> tuple[nn.Module, int]:
    """Return two hidden layers of 256 units with ReLU and no batch norm, and the length of the features, 256.

    Args:
        shape: (H, W, C) of the images.
    """
    body = nn.Sequential(
        nn.Flatten(),
        nn.Linear(shape[0] * shape[1] * shape[2], MLP_WIDTH),
        nn.ReLU(inplace=True),
        nn.Linear(MLP_WIDTH, MLP_WIDTH),
        nn.ReLU(inplace=True),
    )
    return body, MLP_WIDTH


def small_cnn_body(shape: tuple[int, int, int]) -> tuple[nn.Module, int]:
    """Return three convolutions with stride 2 (16, 32, 64 channels; the first 5x5), and the features' length, 256.

    Each is followed by batch norm and ReLU; the last maps are averaged to 2 x 2 and flattened, so any image size of
    8 and above will do. 0.6 million multiplications for an image of 28 x 28 x 1.

    Args:
        shape: (H, W, C) of the images.
    """
    layers: list[nn.Module] = []
    width_in = shape[2]
    for width, kernel in zip(SMALL_CNN_WIDTHS, (5, 3, 3), strict=True):
        layers += [
            nn.Conv2d(width_in, width, kernel, stride=2, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        ]
        width_in = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten()), width_in * 4
