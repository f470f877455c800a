"""Batch norms in evaluation mode folded into the convolutions before them: fewer passes over memory for an attack.

A batch norm that no longer learns is a fixed affine map of each channel, so a convolution followed by it is another
convolution:

    γ (w ∗ x + b − m) / √(v + ε) + β  =  (a w) ∗ x + a (b − m) + β,   a = γ / √(v + ε)

(Jacob et al. 2018, arXiv 1712.05877, section 3.2). The logits differ by rounding alone, which is looked at before the
folded network is used. Only the search for an adversarial image sees it; what was found is judged by the model itself.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

TOLERANCE = 1e-4
"""Of an image's largest logit, counted from their mean: more than float32 rounds off in a hundred layers."""
TRIED = 8
"""Images on which the folded model is compared."""

Pair = tuple[nn.Conv2d, nn.BatchNorm2d]


@contextmanager
def folded(model: nn.Module, images: Tensor) -> Iterator[None]:
    """Fold what can be folded; afterwards every module is in its place again.

    A batch norm is folded where its input is what one convolution returned, both run once in a pass and neither has
    hooks; and where the logits of the first images then differ by no more than rounding (they differ by more if
    something else uses the convolution's output or the batch norm's numbers too, or if the model draws random ones).

    Args:
        model: in evaluation mode.
        images: (N, channels, H, W), N at least 1.
    """
    with torch.no_grad():
        wanted, pairs = _pairs(model, images[:TRIED])
    names = {module: name for name, module in model.named_modules()}
    away: list[nn.Module] = []
    try:
        for convolution, norm in pairs:
            fused = fuse_conv_bn_eval(convolution, norm).requires_grad_(False)
            away += [convolution, norm]
            model.set_submodule(names[convolution], fused)
            model.set_submodule(names[norm], nn.Identity())
            if not _agrees(model, images[:TRIED], wanted):
                _put_back(model, names, [away.pop(), away.pop()])
        yield
    finally:
        _put_back(model, names, away)


def _put_back(model: nn.Module, names: Mapping[nn.Module, str], modules: Sequence[nn.Module]) -> None:
    for module in modules:
        model.set_submodule(names[module], module)


def _agrees(model: nn.Module, images: Tensor, wanted: Tensor) -> bool:
    """Say whether each image's logits are what they were; a model that does not run any more does not agree."""
    try:
        with torch.no_grad():
            found = model(images)
    except Exception:  # whatever a model does with a batch norm that is gone: it is put back
        return False
    scale = (wanted - wanted.mean(1, keepdim=True)).abs().amax(1, keepdim=True)
    return bool(((found - wanted).abs() <= TOLERANCE * scale).all())


def _pairs(model: nn.Module, images: Tensor) -> tuple[Tensor, list[Pair]]:
    """Return the logits of images, and the convolutions and batch norms that may be one."""
    calls: Counter[nn.Module] = Counter()
    made_by: dict[int, tuple[nn.Conv2d, Tensor]] = {}
    pairs: list[Pair] = []

    def look(module: nn.Module, given: tuple[Any, ...], result: Tensor) -> None:
        calls[module] += 1
        if isinstance(module, nn.Conv2d):
            made_by[id(result)] = module, result  # the tensor is held, so no other one gets its identity
        elif isinstance(module, nn.BatchNorm2d) and given and id(given[0]) in made_by:
            pairs.append((made_by[id(given[0])][0], module))

    places = Counter(module for _, module in model.named_modules(remove_duplicate=False))
    with ExitStack() as hooks:
        for module, count in places.items():
            if type(module) in (nn.Conv2d, nn.BatchNorm2d) and count == 1 and _foldable(module):
                hooks.callback(module.register_forward_hook(look).remove)
        logits = model(images)
    used = Counter(convolution for convolution, _ in pairs)
    return logits, [(c, n) for c, n in pairs if c in places and calls[c] == calls[n] == used[c] == 1]


def _foldable(module: nn.Module) -> bool:
    """Say whether nothing else looks into a module, it does not learn, and a batch norm has statistics."""
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    if any(hooks) or module.training or nn.utils.parametrize.is_parametrized(module):
        return False
    return not isinstance(module, nn.BatchNorm2d) or module.running_mean is not None
