"""The projection of FAB: against the library's, and what it promises."""

import pytest
import torch
from pyautoattack import fab_projections

from study.probes import attack_suite  # noqa: F401  (puts ours in the library's place)
from study.probes.fab_projection import projection_linf


def random_planes(seed, far, zeros=0.0, rows=64, pixels=100):
    """Points in the box, and hyperplanes at random distances, some of them out of the box's reach."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(rows, pixels, generator=generator, dtype=torch.float64)
    points[:, : pixels // 4] = points[:, : pixels // 4].round()  # pixels at the edge, as most of MNIST's are
    normals = torch.randn(rows, pixels, generator=generator, dtype=torch.float64)
    normals[torch.rand(rows, pixels, generator=generator) < zeros] = 0
    offsets = (normals * points).sum(1) + far * torch.randn(rows, generator=generator, dtype=torch.float64)
    return points, normals, offsets


@pytest.mark.parametrize("far", [0.01, 1.0, 10.0, 100.0])
@pytest.mark.parametrize("zeros", [0.0, 0.5])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_it_is_the_librarys(far, zeros, dtype):
    given = [tensor.to(dtype) for tensor in random_planes(3, far, zeros)]
    mine, theirs = projection_linf(*given), fab_projections.projection_linf(*given)
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-9 if dtype == torch.float64 else 2e-4)


@pytest.mark.parametrize("far", [0.1, 3.0])
def test_the_plane_is_reached_in_the_box_by_no_larger_change_than_needed(far):
    points, normals, offsets = random_planes(5, far)
    change = projection_linf(points, normals, offsets)
    moved = points + change
    assert moved.min() >= -1e-12
    assert moved.max() <= 1 + 1e-12
    size = change.abs().amax(1, keepdim=True)
    room = torch.where(normals * ((normals * points).sum(1) - offsets)[:, None] > 0, points, 1 - points)
    reached = ((normals * moved).sum(1) - offsets).abs() < 1e-9
    assert reached.float().mean() > 0.9
    most = (normals.abs() * torch.minimum(room, 0.999 * size)).sum(1)
    gap = ((normals * points).sum(1) - offsets).abs()
    assert (most[reached] < gap[reached]).all(), "a smaller radius does not reach it"
    corner = change.abs()[~reached]
    torch.testing.assert_close(corner, room[~reached])


def test_by_hand():
    points, normals = torch.tensor([[0.5, 0.9]]), torch.tensor([[1.0, 1.0]])
    torch.testing.assert_close(projection_linf(points, normals, torch.tensor([1.6])), torch.tensor([[0.1, 0.1]]))
    torch.testing.assert_close(projection_linf(points, normals, torch.tensor([1.8])), torch.tensor([[0.3, 0.1]]))
    torch.testing.assert_close(projection_linf(points, normals, torch.tensor([3.0])), torch.tensor([[0.5, 0.1]]))
    torch.testing.assert_close(projection_linf(points, normals, torch.tensor([1.0])), torch.tensor([[-0.2, -0.2]]))
    torch.testing.assert_close(projection_linf(points, 0 * normals, torch.tensor([1.0])), torch.zeros(1, 2))


def test_fab_uses_it():
    from pyautoattack import fab_base

    assert fab_base.projection_linf is projection_linf
