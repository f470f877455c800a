"""A network as an attack runs it: the same logits and the same gradient of the images, in fewer passes over memory.

Its weights no longer learn, so

- a batch norm in evaluation mode is a fixed affine map of each channel, and a convolution followed by it is another
  convolution (Jacob et al. 2018, arXiv 1712.05877, section 3.2):

      γ (w ∗ x + b − m) / √(v + ε) + β  =  (a w) ∗ x + a (b − m) + β,   a = γ / √(v + ε)

- a convolution of grey images passes its gradient back by a matrix product (`GreyConvolution`);
- the convolutions made anew keep each pixel's channels together in memory where all of the network's are narrow.

The logits differ by rounding alone, which is looked at before the changed network is used. Only the search for an
adversarial image sees it; what was found is judged by the model itself.
"""

import copy
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from study.probes.grey_convolution import GreyConvolution

TOLERANCE = 1e-4
"""Of an image's largest logit, counted from their mean: more than float32 rounds off in a hundred layers."""
TRIED = 8
"""Images on which the changed model is compared."""
NARROW = 128
"""Output channels up to which a CPU is quicker with each pixel's channels side by side; wider ones it reorders."""

Change = dict[nn.Module, nn.Module]
"""What takes the place of a module."""


@contextmanager
def streamlined(model: nn.Module, images: Tensor) -> Iterator[None]:
    """Change what can be changed; afterwards every module is in its place again.

    A batch norm is folded where its input is what one convolution returned, both run once in a pass and neither has
    hooks. A change stays where the logits of the first images then differ by no more than rounding (they differ by
    more if something else uses the convolution's output or the batch norm's numbers too, or if the model draws random
    ones).

    Args:
        model: in evaluation mode, its parameters without gradient.
        images: (N, channels, H, W), N at least 1.
    """
    with torch.no_grad():
        wanted, changes = _changes(model, images[:TRIED])
    names = {module: name for name, module in model.named_modules()}
    away: Change = {}
    try:
        for change in changes:
            away |= {module: module for module in change}
            _put(model, names, change)
            if not _agrees(model, images[:TRIED], wanted):
                _put(model, names, {module: module for module in change})
        yield
    finally:
        _put(model, names, away)


def _put(model: nn.Module, names: Mapping[nn.Module, str], change: Change) -> None:
    for module, instead in change.items():
        model.set_submodule(names[module], instead)


def _agrees(model: nn.Module, images: Tensor, wanted: Tensor) -> bool:
    """Say whether each image's logits are what they were; a model that does not run any more does not agree."""
    try:
        with torch.no_grad():
            found = model(images)
    except Exception:  # whatever a model does with a batch norm that is gone: it is put back
        return False
    scale = (wanted - wanted.mean(1, keepdim=True)).abs().amax(1, keepdim=True)
    return bool(((found - wanted).abs() <= TOLERANCE * scale).all())


def _changes(model: nn.Module, images: Tensor) -> tuple[Tensor, list[Change]]:
    """Return the logits of images, and what may take the place of what."""
    calls: Counter[nn.Module] = Counter()
    made_by: dict[int, tuple[nn.Conv2d, Tensor]] = {}
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []

    def look(module: nn.Module, given: tuple[Any, ...], result: Tensor) -> None:
        calls[module] += 1
        if isinstance(module, nn.Conv2d):
            made_by[id(result)] = module, result  # the tensor is held, so no other one gets its identity
        elif isinstance(module, nn.BatchNorm2d) and given and id(given[0]) in made_by:
            pairs.append((made_by[id(given[0])][0], module))

    places = Counter(module for _, module in model.named_modules(remove_duplicate=False))
    with ExitStack() as hooks:
        for module, count in places.items():
            if type(module) in (nn.Conv2d, nn.BatchNorm2d) and count == 1 and _replaceable(module):
                hooks.callback(module.register_forward_hook(look).remove)
        logits = model(images)
    used = Counter(convolution for convolution, _ in pairs)
    folds = {c: n for c, n in pairs if c in places and calls[c] == calls[n] == used[c] == 1}
    grey = [c for c in calls if isinstance(c, nn.Conv2d) and GreyConvolution.fits(c, images.device) and c not in folds]
    together = _narrow(model, images.device)
    changes: list[Change] = [{c: _anew(fuse_conv_bn_eval(c, n), together), n: nn.Identity()} for c, n in folds.items()]
    return logits, changes + [{c: _anew(copy.deepcopy(c), together)} for c in grey]


def _anew(convolution: nn.Conv2d, together: bool) -> nn.Module:
    """Return a convolution (its own copy, in evaluation mode) in the form in which it is quickest."""
    convolution.requires_grad_(False)
    if together:
        convolution.to(memory_format=torch.channels_last)
    fits = GreyConvolution.fits(convolution, convolution.weight.device)
    return GreyConvolution(convolution) if fits else convolution


def _narrow(model: nn.Module, device: torch.device) -> bool:
    """Say whether no convolution is too wide for each pixel's channels to lie together."""
    widths = [module.out_channels for module in model.modules() if isinstance(module, nn.Conv2d)]
    return device.type == "cpu" and max(widths, default=0) <= NARROW


def _replaceable(module: nn.Module) -> bool:
    """Say whether nothing else looks into a module, it does not learn, and a batch norm has statistics."""
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    if any(hooks) or module.training or nn.utils.parametrize.is_parametrized(module):
        return False
    return not isinstance(module, nn.BatchNorm2d) or module.running_mean is not None
