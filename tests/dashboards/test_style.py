import math

import pytest

from dashboards import style
from dashboards.style import KNOWN_STYLES, loss_style, luminance
from dashboards.swatch import Swatch

NAN = math.nan


def test_known_losses_look_different_and_stay_as_they_are() -> None:
    assert loss_style("ce") == style.LossStyle("#7d8590", "circle", "solid")
    assert loss_style("hem") == style.LossStyle("#d55e00", "diamond", "solid")
    assert loss_style("hem+") == style.LossStyle("#0f79bd", "star", "solid")
    assert len(KNOWN_STYLES) == 13
    assert len({look.color for look in KNOWN_STYLES.values()}) == 13
    assert len({look.symbol for look in KNOWN_STYLES.values()}) == 13


def test_an_unknown_loss_has_a_look_that_follows_from_its_name() -> None:
    assert loss_style("my_pkg.losses:MyLoss") == style.LossStyle("#b56523", "star-diamond", "longdashdot")
    names = [f"pkg:Loss{index}" for index in range(60)]
    assert len({loss_style(name).color for name in names}) == 60
    assert [loss_style(name) for name in names] == [loss_style(name) for name in names]


@pytest.mark.parametrize("name", [*KNOWN_STYLES, *(f"pkg:Loss{index}" for index in range(40))])
def test_colors_have_three_to_one_contrast_on_both_pages(name: str) -> None:
    light, dark, own = luminance("#fcfcfb"), luminance("#14171a"), luminance(loss_style(name).color)
    assert (light + 0.05) / (own + 0.05) >= 3
    assert (own + 0.05) / (dark + 0.05) >= 3


def test_luminance_of_black_white_and_middle_grey() -> None:
    assert luminance("#000000") == 0
    assert luminance("#ffffff") == pytest.approx(1)
    assert luminance("#777777") == pytest.approx(0.1845, abs=1e-4)


def test_every_marker_has_an_outline() -> None:
    for name in [*KNOWN_STYLES, *(f"pkg:Loss{index}" for index in range(40))]:
        swatch = Swatch.of(name)
        corners = [tuple(map(float, pair.split(","))) for pair in swatch.outline.split()]
        assert len(corners) >= 3
        assert all(8 <= x <= 20 and 1 <= y <= 13 for x, y in corners)
    assert not Swatch.of("ce_balanced").filled
    assert Swatch.of("ce").filled


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (style.percent(0.9134), "91.3"),
        (style.percent(NAN), "n/a"),
        (style.percent(None), "n/a"),
        (style.points(0.0123), "+1.2"),
        (style.points(-0.0123), "−1.2"),
        (style.points(-0.0001), "0.0"),
        (style.measure(0.5, "accuracy"), "50.0"),
        (style.measure(0.5, "nll"), "0.500"),
        (style.change(-0.25, "nll"), "−0.250"),
        (style.change(0.25, "nll"), "+0.250"),
        (style.with_sd(0.913, 0.0042, "accuracy"), "91.3 ± 0.4"),
        (style.with_sd(0.913, NAN, "accuracy"), "91.3"),
        (style.with_sd(NAN, 0.1, "accuracy"), "n/a"),
        (style.interval(-0.002, 0.016, "accuracy"), "[−0.2, +1.6]"),
        (style.interval(NAN, 0.1, "accuracy"), "n/a"),
        (style.probability(0.0004), "< 0.001"),
        (style.probability(0.0312), "0.031"),
        (style.probability(NAN), "n/a"),
        (style.significant(0.000012345), "1.23e-05"),
        (style.significant(-0.5), "−0.5"),
        (style.duration(0.4123), "0.41 s"),
        (style.duration(245.2), "4 min 05 s"),
        (style.duration(7620), "2 h 07 min"),
        (style.duration(None), "n/a"),
        (style.byte_size(3 * 2**29), "1.5 GiB"),
        (style.byte_size(5 * 2**20), "5 MiB"),
        (style.byte_size(None), "n/a"),
        (style.short("my_pkg.losses:MyLoss", 10), "…es:MyLoss"),
        (style.plotly_text("<b>a&b</b> %{x} $y$"), "&lt;b&gt;a&amp;b&lt;/b&gt; %&#123;x} &#36;y&#36;"),
    ],
)
def test_how_numbers_and_names_are_written(written: str, expected: str) -> None:
    assert written == expected
