import pytest


@pytest.fixture
def small_blocks(monkeypatch):
    """Cut logits into blocks of some 128 elements, and treat no batch as a small one."""
    monkeypatch.setattr("hem._blocks.block_size", lambda: 128)
    monkeypatch.setattr("hem._margin_rows.BLOCK", 0)
    monkeypatch.setattr("hem._fused.FEW", 0)
