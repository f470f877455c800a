"""A network as an attack runs it: the same logits and the same gradient of the images, in fewer passes over memory.

Its weights no longer learn, so

- a batch norm in evaluation mode is a fixed affine map of each channel, and a convolution followed by it is another
  convolution (Jacob et al. 2018, arXiv 1712.05877, section 3.2):

      γ (w ∗ x + b − m) / √(v + ε) + β  =  (a w) ∗ x + a (b − m) + β,   a = γ / √(v + ε)

- a convolution of grey images passes its gradient back by a matrix product (`GreyConvolution`);
- the convolutions made anew keep each pixel's channels together in memory where all of the network's are narrow.

Logits and gradient differ by rounding alone, which is looked at before the changed network is used. Only the search for
an adversarial image sees it; what was found is judged by the model itself.
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
SLOPE_TOLERANCE = 1e-2
"""Of the length of an image's gradient: rounding may switch a ReLU whose input is almost zero."""
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
    hooks. Changes stay where the logits of the first images, and their gradient with respect to the images, then differ
    by no more than rounding. They differ by more if something else uses the convolution's output or the batch norm's
    numbers too, or if the model draws random ones. If all changes together do not pass, each has to by itself.

    Args:
        model: in evaluation mode, its parameters without gradient.
        images: (N, channels, H, W), N at least 1.
    """
    few = images[:TRIED].detach()
    changes = _changes(model, few)
    wanted = _outcome(model, few)
    names = {module: name for name, module in model.named_modules()}
    together: Change = {module: instead for change in changes for module, instead in change.items()}
    try:
        for change in [together, *changes] if wanted is not None and changes else []:
            _put(model, names, change)
            if _agrees(_outcome(model, few), wanted):
                if change is together:
                    break
            else:
                _put(model, names, {module: module for module in change})
        yield
    finally:
        _put(model, names, {module: module for module in together})


def _put(model: nn.Module, names: Mapping[nn.Module, str], change: Change) -> None:
    for module, instead in change.items():
        model.set_submodule(names[module], instead)


def _outcome(model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return the logits (N, C) and the gradient of a fixed combination of them (N, channels · H · W).

    None for a model that cannot say either: as it is, an attack will say so; changed, it is put back.
    """
    try:
        with torch.enable_grad():
            given = images.clone().requires_grad_()
            logits = model(given).float()
            combined = (logits * torch.linspace(-1, 1, logits.shape[1], device=logits.device)).sum()
            slope = torch.autograd.grad(combined, given)[0] if combined.requires_grad else torch.zeros_like(given)
    except Exception:  # whatever a model does that has lost a batch norm, or that never had a gradient
        return None
    return logits.detach(), slope.flatten(1)


def _agrees(found: tuple[Tensor, Tensor] | None, wanted: tuple[Tensor, Tensor] | None) -> bool:
    """Say whether each image's logits and gradient are what they were."""
    if found is None or wanted is None:
        return False
    logits, slope = wanted
    scale = (logits - logits.mean(1, keepdim=True)).abs().amax(1, keepdim=True)
    same = ((found[0] - logits).abs() <= TOLERANCE * scale).all()
    off = torch.linalg.vector_norm(found[1] - slope, dim=1)
    return bool(same and (off <= SLOPE_TOLERANCE * torch.linalg.vector_norm(slope, dim=1)).all())


def _changes(model: nn.Module, images: Tensor) -> list[Change]:
    """Return what may take the place of what."""
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
        with torch.no_grad():
            model(images)
    used = Counter(convolution for convolution, _ in pairs)
    folds = {c: n for c, n in pairs if c in places and calls[c] == calls[n] == used[c] == 1}
    grey = [c for c in calls if isinstance(c, nn.Conv2d) and GreyConvolution.fits(c, images.device) and c not in folds]
    together = _narrow(model, images.device)
    changes: list[Change] = [{c: _anew(fuse_conv_bn_eval(c, n), together), n: nn.Identity()} for c, n in folds.items()]
    return changes + [{c: _anew(copy.deepcopy(c), together)} for c in grey]


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
