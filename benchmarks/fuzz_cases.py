"""What the fuzzer feeds: command lines from every option with plausible and odd values, and ways to damage a run."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import strategies as st

ODD = (
    *(
        "",
        " ",
        "-",
        "--",
        "-1",
        "0",
        "1",
        "2",
        "1.5",
        "1e999",
        "nan",
        "inf",
        "-inf",
        "9" * 40,
        "1e-320",
        "1e6",
        "10000000",
    ),
    *("٣", "½", "ünï", "💥", "\udcff", "a\nb", "\t", "<script>alert(1)</script>", "'; DROP TABLE", "%s", "{}", "$HOME"),
    *("..", "/", "/dev/null", "../../etc/passwd", "a" * 300, "None", "True", "all", "auto", "ce", "--help", "--nope"),
    *(":", "ce:", ":ce", "x:y", "os:getcwd", "json:JSONDecoder", "npz:", "npz:/", "npz:/dev/null", "torch.nn:Module"),
)
"""Values that somebody could type, or paste, where they do not belong."""

LOSSES = ("ce", "hem", "hem+", "mm", "focal", "dice", "logitnorm", "ldam", "ldam_drw", "logit_adjusted", "hme", "CE")
OWN = (
    "examples.own_loss:TruncatedLoss",
    "examples.own_loss:Nothing",
    "no_such_package:Loss",
    "torch.nn:CrossEntropyLoss",
)
COUNTS = ("1", "2", "3", "4", "6", "8", "20", "1000")
AMOUNTS = ("0", "0.25", "0.5", "1", "1.5", "2", "64")
RADII = ("0", "0.05", "0.1", "0.3", "1", "8", "0.00392")

TUNE = {
    "--task": (
        "imbalanced",
        "classification",
        "rejection",
        "adversarial",
        "continual",
        "segmentation",
        "all",
        "imbalance",
    ),
    "--dataset": ("digits", "mnist5k", "npz:GOOD", "npz:BAD", "npz:RUN", "npz:missing.npz", "cifar10", "digit"),
    "--model": ("mlp", "small_cnn", "resnet20", "unet_small", "convnext_mini", "vit_mini", "mpl"),
    "--losses": (*LOSSES, *OWN),
    "--methods": ("plain", "drw", "pgd", "trades_own", "replay", "joint", "outlier_exposure"),
    "--imbalance-ratio": ("1", "10", "100", "0.5", "1e9"),
    "--held-out": ("0", "1", "4", "8", "9", "-1", "x"),
    "--ood-sets": ("npz:GOOD", "npz:BAD", "npz:missing.npz", "GOOD"),
    "--preset": ("smoke", "smoke", "smoke", "quick", "full", "paper", "smok"),
    "--trials": COUNTS,
    "--replicates": COUNTS,
    "--seeds": COUNTS,
    "--epochs": COUNTS,
    "--objective": ("accuracy", "balanced_accuracy", "miou", "loss"),
    "--attacks": ("none", "quick", "standard", "plus", "fast"),
    "--eps": RADII,
    "--attack-points": (*COUNTS, "all"),
    "--image-size": ("8", "16", "0", "7", "100000"),
    "--resplit": None,
    "--weights": ("WEIGHTS", "BAD", "missing.pt", "FILE"),
    "--freeze-body": None,
    "--output": ("new", "new/deep", "RUN", "FILE", "FILE/below", "what?", "."),
    "--data-dir": ("data", "FILE", "RUN"),
    "--resume": ("RUN", "RUN/cells", "missing", "FILE", "."),
    "--add-losses": (*LOSSES, *OWN),
    "--seed": COUNTS,
    "--address": ("auto", "local", "127.0.0.1:1", "ray://x", "nowhere"),
    "--max-concurrent": COUNTS,
    "--cpus-per-trial": AMOUNTS,
    "--gpus-per-trial": AMOUNTS,
    "--workers-per-trial": COUNTS,
    "--cpus-per-worker": AMOUNTS,
    "--gpus-per-worker": AMOUNTS,
    "--trial-timeout": AMOUNTS,
    "--node-timeout": AMOUNTS,
    "--verbose": None,
    "--no-dashboard": None,
}
RESUMED = ("--resume", "--add-losses")
FIXED = ("--seed", *list(TUNE)[: list(TUNE).index("--output") + 1])
"""Options that a resumed run refuses."""
EVALUATE = {
    "--add": (
        "a=WEIGHTS",
        "a=OUTPUTS",
        "a=BAD",
        "b=missing.pt",
        "c=tests.study.test_foreign:build",
        "d=os:getcwd",
        "x",
        "ce=OUTPUTS",
    ),
    "--model": TUNE["--model"],
    "--attacks": TUNE["--attacks"],
    "--norms": ("Linf", "L2", "L1"),
    "--eps": RADII,
    "--attack-points": TUNE["--attack-points"],
    "--attack-replicates": COUNTS,
    "--from-scores": None,
    "--data-dir": TUNE["--data-dir"],
    "--address": TUNE["--address"],
    "--cpus-per-trial": AMOUNTS,
    "--gpus-per-trial": AMOUNTS,
    "--max-concurrent": COUNTS,
    "--verbose": None,
}
REPORT = {"--out": ("page.html", "FILE/page.html", "RUN", "new/page.html", "/proc/page.html")}
PLACES = ("RUN", "RUN", "RUN", "OUTPUTS", "BAD", "missing", "FILE", "GOOD", ".", "RUN/cells")
"""What stands where a run is expected."""

Line = tuple[str, tuple[str, ...]]


@st.composite
def lines(draw: st.DrawFn) -> Line:
    """Draw a command and its arguments: some of its options, most values plausible."""
    command = draw(st.sampled_from(("tune",) * 5 + ("evaluate", "evaluate", "report")))
    table = {"tune": TUNE, "evaluate": EVALUATE, "report": REPORT}[command]
    argv: list[str] = []
    if command == "tune" and draw(st.integers(0, 9)):
        argv += draw(st.sampled_from((["--task", "imbalanced", "--preset", "smoke"], ["--resume", "RUN"])))
    if command != "tune":
        argv += draw(st.lists(_value(PLACES), min_size=1, max_size=1 + 2 * (command == "report")))
    resumed = "--resume" in argv and draw(st.integers(0, 4)) > 0
    names = [name for name in sorted(table) if not (resumed and name in FIXED) and (resumed or name not in RESUMED)]
    for option in draw(st.lists(st.sampled_from(names), max_size=4)):
        argv.append(option)
        values = table[option]
        if values is not None:
            several = 3 if option in ("--losses", "--eps", "--add", "--add-losses", "--norms", "--methods") else 1
            argv += draw(st.lists(_value(values), min_size=int(draw(st.integers(0, 19)) > 0), max_size=several))
    return command, tuple(argv)


def _value(plausible: Sequence[str]) -> st.SearchStrategy[str]:
    text = st.text(st.characters(exclude_characters="\0"), max_size=8)
    usual = st.sampled_from(plausible)
    return st.integers(0, 9).flatmap(lambda number: (st.sampled_from(ODD) | text) if number == 7 else usual)


def truncated(path: Path, random: Random) -> None:
    """Keep a part of a file, or nothing."""
    data = path.read_bytes()
    path.write_bytes(data[: random.choice((0, 1, len(data) // 2, max(0, len(data) - 1)))])


def flipped(path: Path, random: Random) -> None:
    """Change a few bytes."""
    data = bytearray(path.read_bytes())
    for _ in range(random.choice((1, 3, 50)) if data else 0):
        data[random.randrange(len(data))] = random.randrange(256)
    path.write_bytes(bytes(data))


def gone(path: Path, random: Random) -> None:
    """Delete it."""
    path.unlink()


def folder(path: Path, random: Random) -> None:
    """Put a folder in its place, with a file in it."""
    path.unlink()
    path.mkdir()
    (path / "inside").write_text("x")


def not_text(path: Path, random: Random) -> None:
    """Write bytes that are no UTF-8."""
    path.write_bytes(b"\xff\xfe\x80{" + bytes(random.randrange(256) for _ in range(40)))


def other_json(path: Path, random: Random) -> None:
    """Put something else in the place of one value of a JSON file, or take it out; other files get a JSON text."""
    try:
        root = json.loads(path.read_text())
    except ValueError:
        root = {"version": 0}
    node, place = _somewhere(root, random)
    if place is not None:
        node[place] = random.choice((None, -1, 1e300, "x", [], {}, [1], {"a": 1}, True, "../../../tmp/x"))
        if random.random() < 0.3:
            del node[place]
    path.write_text(json.dumps(root))


def older(path: Path, random: Random) -> None:
    """Say that it is of another version; other files become a link to themselves."""
    if path.suffix == ".json":
        root = json.loads(path.read_text())
        path.write_text(json.dumps({**root, "version": random.choice((0, 2, "1", None))}))
    elif path.suffix == ".parquet":
        import pandas as pd

        pd.read_parquet(path).to_parquet(path)
    else:
        path.unlink()
        path.symlink_to(path)


def _somewhere(root: Any, random: Random) -> tuple[Any, Any]:  # noqa: ANN401
    """Return a container inside a JSON value and a place in it, deep ones too."""
    found = (root, None)
    while isinstance(root, dict | list) and root:
        place = random.choice(list(root) if isinstance(root, dict) else range(len(root)))
        found = (root, place)
        if random.random() < 0.35:
            break
        root = root[place]
    return found


DAMAGES: dict[str, Callable[[Path, Random], None]] = {
    function.__name__: function for function in (truncated, flipped, gone, folder, not_text, other_json, older)
}
KINDS = (
    *("study.json", "verdict.json", "examples.json", "optuna.db", ".lock", "*.parquet", "*.parquet", "dashboard.html"),
    *("cells/search/*", "cells/rescore/*", "cells/confirm/*", "cells/cost/*", "cells/evaluate/*", "cells/block/*"),
    *("cells/attack/*", "scores/evaluate/*", "scores/attack/*", "scores/block/*", "models/*/*/*.pt", "examples/*"),
    *("tune/checkpoints/*", "study.json", "study.json"),
)
"""What is damaged: one file of a kind."""
AFTER = ("report", "from-scores", "evaluate", "resume --dry-run", "resume")
"""What is tried on a damaged run."""


def damage(run: Path, kind: str, how: str, random: Random) -> str:
    """Damage one file of a run; return which."""
    files = sorted(path for path in run.glob(kind) if path.is_file())
    path = random.choice(files)
    DAMAGES[how](path, random)
    return str(path.relative_to(run))


def copied(run: Path, target: Path) -> Path:
    """Copy a run over what is there."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(run, target)
    return target
