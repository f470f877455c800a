"""A grey image's gradient through a convolution by matrix product: against autograd's own."""

import pytest
import torch
from torch import nn

from study.probes.grey_convolution import GreyConvolution


@pytest.mark.parametrize("size", [(28, 28), (9, 14)])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    [(3, 1, 1, 1), (5, 2, 2, 1), (4, 3, 0, 1), (1, 1, 0, 1), ((3, 2), (2, 1), (1, 0), (2, 3)), (2, 5, 0, 1)],
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_output_and_gradient_are_autograds(size, kernel, stride, padding, dilation, layout):
    generator = torch.Generator().manual_seed(0)
    plain = nn.Conv2d(1, 6, kernel, stride, padding, dilation).double().requires_grad_(False).to(memory_format=layout)
    images = torch.rand(3, 1, *size, generator=generator, dtype=torch.float64)
    found = []
    for module in (plain, GreyConvolution(plain)):
        given = images.clone().requires_grad_()
        maps = module(given)
        direction = torch.rand(maps.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        found.append((maps.detach(), torch.autograd.grad(maps, given, direction)[0]))
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=1e-12)


def test_by_hand():
    plain = nn.Conv2d(1, 2, 2, stride=1, bias=False).requires_grad_(False)
    plain.weight.copy_(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]], [[[10.0, 20.0], [30.0, 40.0]]]]))
    images = torch.zeros(1, 1, 2, 3, requires_grad=True)
    maps = GreyConvolution(plain)(images)  # (1, 2, 1, 2)
    [slope] = torch.autograd.grad(maps, images, torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]]))
    # the first kernel at the left, the second at the right
    assert slope.tolist() == [[[[1.0, 2.0 + 10.0, 20.0], [3.0, 4.0 + 30.0, 40.0]]]]


@pytest.mark.parametrize(
    ("convolution", "device", "fits"),
    [
        (nn.Conv2d(1, 4, 3), "cpu", True),
        (nn.Conv2d(1, 4, 3), "cuda", False),
        (nn.Conv2d(3, 4, 3), "cpu", False),
        (nn.Conv2d(1, 4, 3, padding="same"), "cpu", False),
        (nn.Conv2d(1, 4, 3, padding=1, padding_mode="reflect"), "cpu", False),
    ],
)
def test_which_convolutions_fit(convolution, device, fits):
    assert GreyConvolution.fits(convolution, torch.device(device)) == fits


def test_the_gradient_has_a_gradient():
    plain = nn.Conv2d(1, 2, 3).double().requires_grad_(False)
    images = torch.rand(2, 1, 5, 5, dtype=torch.float64, requires_grad=True)
    found = []
    for module in (plain, GreyConvolution(plain)):
        [slope] = torch.autograd.grad((module(images) ** 3).sum(), images, create_graph=True)
        found.append(torch.autograd.grad((slope**2).sum(), images)[0])
    torch.testing.assert_close(found[1], found[0])
