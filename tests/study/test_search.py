"""The fair search, driven without Ray: a feed gets cells from a made-up objective."""

import contextlib
import math
import sqlite3
from dataclasses import replace

import numpy as np
import optuna
import pytest
import sqlalchemy
from optuna.trial import TrialState

from examples.own_loss import GeneralisedCE
from search_spaces.imbalanced import RECIPES
from search_spaces.losses import LOSS_SPACES
from search_spaces.shared import SHARED
from study.config import StudyConfig
from study.data.embedded import digits
from study.errors import CannotGoOn, InputError
from study.options import study_config
from study.record import describe
from study.run import Key, RunDirectory
from study.search import SearchFeed, point_of, refuse_other_space, starting_counts, study_name, training_of
from study.spaces import declared_ranges, near_edge, opening
from study.trial import _begin, splits

RECIPE = RECIPES["mnist5k"]
MIDDLE = {"learning_rate": 0.03, "weight_decay": 1e-4, "M": 2e3, "label_smoothing": 0.15}
"""Of the range of each, by its logarithm but for label smoothing."""
COUNTS = {
    ("plain", 0): (350, 226, 146, 95, 61, 39, 25, 16, 10, 7),
    ("plain", 1): (7, 350, 226, 146, 95, 61, 39, 25, 16, 10),
}


def config(**changes):
    values = {
        "task": "imbalanced",
        "preset": "quick",
        "dataset": "mnist5k",
        "model": "mlp",
        "losses": ("ce", "mm", "hem"),
        "methods": ("plain",),
        "objective": "balanced_accuracy",
        "trials": 20,
        "replicates": 2,
        "seeds": 1,
        "epochs": 2,
        "rescored": 1,
        "sweep": 0,
        "attacks": "none",
        "eps": (),
        "l2_eps": (),
        "attack_points": 0,
        "attack_replicates": 0,
        "imbalance_ratio": None,
        "ood_sets": (),
        "seed": 0,
    }
    return StudyConfig(**{**values, **changes})


def cell_of(training, seconds=0.1):
    """A made-up result: best at learning rate 0.1, failed above 1."""
    rate = training.recipe["learning_rate"]
    content = {k: v for k, v in training.to_dict().items() if k != "key"}
    if rate > 1:
        return {"state": "failed", "reason": "diverged", "error": "diverged", "seconds": seconds, "training": content}
    return {
        "state": "complete",
        "objective": 1 - abs(math.log10(rate / 0.1)) / 10,
        "epochs": [{"seconds": seconds}] * 3,
        "seconds": seconds,
        "training": content,
    }


def finish(feed, run, training, seconds=0.1):
    cell = cell_of(training, seconds)
    run.write_cell(training.key, cell)
    feed.done(training, run.read_cell(training.key))


def drive(feed, run, stop_after=10**9):
    """Run trainings one at a time; return them in the order they were handed out."""
    order = []
    while len(order) < stop_after and (training := feed.next()) is not None:
        order.append(training)
        finish(feed, run, training)
    return order


def rows(run, config, loss):
    return [
        run.read_cell(Key("search", "plain", loss, "", r, slot))
        for r in range(config.replicates)
        for slot in range(config.trials_per_search)
    ]


def test_every_search_gets_the_same_number_and_they_advance_together(tmp_path):
    run, study = RunDirectory(tmp_path), config()
    feed = SearchFeed(study, run, RECIPE, COUNTS)
    order = drive(feed, run)
    assert feed.finished()
    assert len(order) == 3 * 2 * 10
    handed = dict.fromkeys({(t.key.loss, t.key.replicate) for t in order}, 0)
    for training in order:
        handed[training.key.loss, training.key.replicate] += 1
        assert max(handed.values()) - min(handed.values()) <= 1
    assert set(handed.values()) == {10}


def test_shared_points_are_the_same_for_all_losses_and_differ_between_replicates(tmp_path):
    run, study = RunDirectory(tmp_path), config()
    drive(SearchFeed(study, run, RECIPE, COUNTS), run)
    shared = {
        (loss, r): [
            {k: cell["training"]["recipe"][k] for k in SHARED}
            for cell in rows(run, study, loss)[10 * r : 10 * r + 10]
            if cell["training"]["source"] == "shared"
        ]
        for loss in study.losses
        for r in range(2)
    }
    assert len(shared["ce", 0]) == 5
    for r in range(2):
        assert shared["ce", r] == shared["mm", r] == shared["hem", r]
    assert shared["ce", 0] != shared["ce", 1]


def test_replicates_search_with_seeds_of_their_own_that_all_losses_share(tmp_path, monkeypatch):
    """Of initial weights and order of images, of the points of a loss's own parameters, and of the sampler."""
    sampler, sampled = optuna.samplers.TPESampler, []

    def noted(seed, **more):
        sampled.append(seed)
        return sampler(seed=seed, **more)

    monkeypatch.setattr(optuna.samplers, "TPESampler", noted)
    monkeypatch.setattr("study.search.open_storage", lambda run: optuna.storages.InMemoryStorage())
    run, study = RunDirectory(tmp_path), config(losses=("mm", "hem"), trials=16)
    order = drive(SearchFeed(study, run, RECIPE, COUNTS), run)
    begun = {"mm": {}, "hem": {}}
    for training in order:
        begun[training.key.loss][training.key.replicate, training.key.number] = training.seed
    assert begun["mm"] == begun["hem"]
    assert len(set(begun["mm"].values())) == 2 * 8
    assert len(sampled) == 2 * 2 * 3, "losses, replicates, trials after the literature's and the four shared ones"
    assert len(set(sampled)) == 2 * 3
    shared = [t for t in order if (t.key.loss, t.source) == ("mm", "shared") and t.key.number > 2]
    assert len({t.loss_parameters["margin"] for t in shared}) == 2 * 2, "but for the first two, which are given"


def test_literature_comes_first_and_hem_tries_margins_of_02_and_1(tmp_path):
    run, study = RunDirectory(tmp_path), config()
    drive(SearchFeed(study, run, RECIPE, COUNTS), run)
    first, second, third = rows(run, study, "hem")[:3]
    assert first["training"]["source"] == "literature"
    assert first["training"]["loss_parameters"] == {"M": 2000.0}
    assert first["training"]["recipe"]["learning_rate"] == RECIPE["learning_rate"]
    assert second["training"]["loss_parameters"]["M"] == pytest.approx(975 * 0.2**2)
    assert third["training"]["loss_parameters"]["M"] == pytest.approx(975)


@pytest.mark.parametrize("method", ["replay", "naive", "joint"])
def test_a_continual_learner_begins_with_margins_of_02_and_1(tmp_path, method):
    """S is that of the first experience (all images under joint), as the loss is built with it."""
    given = {"task": "continual", "preset": "smoke", "dataset": "digits", "losses": ["ce", "hem"]}
    study = replace(study_config(given), methods=(method,))
    counts, source = {}, digits()
    for replicate in range(study.replicates):
        data = splits(study, source, replicate, final=False)
        first = range(10) if method == "joint" else data.experiences[0]
        counts[method, replicate] = tuple(int((data.train.labels == c).sum()) if c in first else 0 for c in range(10))
    assert starting_counts(study, source) == counts
    feed = SearchFeed(study, RunDirectory(tmp_path), RECIPE, starting_counts(study, source))
    for search in feed.searches[1::2]:  # hem's
        (_, first), (_, second) = search.opening[1:3]
        for point, margin in ((first, 0.2), (second, 1.0)):
            training = training_of(RECIPE, search.key(0), point, seed=0)
            assert _begin(training, study, source, None, "cpu", 0, 1)[1].loss.margin == pytest.approx(margin)


def test_a_loss_under_a_second_name_gets_the_same_rows(tmp_path, monkeypatch):
    monkeypatch.setitem(LOSS_SPACES, "another", LOSS_SPACES["ce"])
    run, study = RunDirectory(tmp_path), config(losses=("ce", "hem", "another"))
    drive(SearchFeed(study, run, RECIPE, COUNTS), run)
    for a, b in zip(rows(run, study, "ce"), rows(run, study, "another"), strict=True):
        assert a["training"] == b["training"]
        assert a["state"] == b["state"]
    assert {cell["training"]["source"] for cell in rows(run, study, "ce")} == {"literature", "shared", "tpe"}


@pytest.mark.parametrize("stop", [1, 7, 31, 59])
@pytest.mark.parametrize("cell_written", [False, True])
def test_killed_and_resumed_tries_what_an_undisturbed_search_tries(tmp_path, stop, cell_written):
    study = config()
    calm = RunDirectory(tmp_path / "calm")
    calm.path.mkdir()
    drive(SearchFeed(study, calm, RECIPE, COUNTS), calm)
    run = RunDirectory(tmp_path / "killed")
    run.path.mkdir()
    feed = SearchFeed(study, run, RECIPE, COUNTS)
    drive(feed, run, stop)
    torn = feed.next()  # handed out, then everything is killed
    if cell_written:
        run.write_cell(torn.key, cell_of(torn))
    drive(SearchFeed(study, run, RECIPE, COUNTS), run)
    for loss in study.losses:
        assert [c["training"] for c in rows(run, study, loss)] == [c["training"] for c in rows(calm, study, loss)]
        for r in range(2):
            trials = optuna.load_study(
                study_name=study_name("plain", loss, r), storage=f"sqlite:///{run.storage}"
            ).get_trials()
            assert not [t for t in trials if t.state == TrialState.RUNNING]
            counted = [t for t in trials if not t.user_attrs.get("interrupted")]
            assert sorted(t.user_attrs["slot"] for t in counted) == list(range(10))


def test_killed_again_before_a_slots_turn_it_still_tries_the_same_point(tmp_path):
    """Three at a time: what the sampler would say by now is another point than what the slot's first attempt had."""
    run, study = RunDirectory(tmp_path), config(losses=("ce",), replicates=1, trials=14)
    feed = SearchFeed(study, run, RECIPE, COUNTS)
    drive(feed, run, 9)
    torn, other, done = feed.next(), feed.next(), feed.next()
    assert torn.source == "tpe"
    finish(feed, run, done)
    for _ in range(2):
        SearchFeed(study, run, RECIPE, COUNTS)  # taken over, and killed again
    feed = SearchFeed(study, run, RECIPE, COUNTS)
    assert (feed.next(), feed.next()) == (torn, other)


@pytest.mark.parametrize(
    "odd",
    [
        "update trial_params set param_value = 99 where trial_id = 2 and param_name = 'learning_rate'",
        "update trials set datetime_start = null where trial_id = 2",
        "update trials set state = 'RUNNING' where trial_id = 2",
        "update trials set state = 'FAIL' where trial_id = 2",
        "update trials set state = 'ODD' where trial_id = 2",
        "update trial_params set distribution_json = '{' where trial_id = 2",
        "delete from trial_values where trial_id = 2",
        "delete from trial_user_attributes where trial_id = 7 and key = 'source'",
        "update trial_user_attributes set value_json = '99' where trial_id = 7 and key = 'slot'",
    ],
)
def test_whatever_the_record_holds_the_sampler_knows_what_the_cells_say(tmp_path, odd):
    run, study = RunDirectory(tmp_path), config(losses=("ce",), replicates=1, trials=10)
    feed = SearchFeed(study, run, RECIPE, COUNTS)
    drive(feed, run, 6)
    feed.next()
    with contextlib.closing(sqlite3.connect(run.storage)) as database:
        assert database.execute(odd).rowcount >= 1
        database.commit()
    feed = SearchFeed(study, run, RECIPE, COUNTS)
    assert len(drive(feed, run)) == 4
    told = feed.searches[0].optuna_study.get_trials()
    assert [t.params for t in told] == [point_of(cell) for cell in rows(run, study, "ce")]
    recorded = optuna.storages.RDBStorage(f"sqlite:///{run.storage}").get_all_trials(1)
    assert not [t for t in recorded if t.state == TrialState.RUNNING]
    assert {t.user_attrs.get("slot") for t in recorded if t.state == TrialState.COMPLETE} >= set(range(10))


def test_a_cell_that_was_lost_counts_once_for_the_sampler(tmp_path):
    run, study = RunDirectory(tmp_path / "run"), config(losses=("ce",), replicates=1, trials=14)
    calm = RunDirectory(tmp_path / "calm")
    for one in (run, calm):
        one.path.mkdir()
        drive(SearchFeed(study, one, RECIPE, COUNTS), one, 10)
    run.cell(Key("search", "plain", "ce", "", 0, 8)).unlink()
    for one in (run, calm):
        drive(SearchFeed(study, one, RECIPE, COUNTS), one)
    assert [c["training"] for c in rows(run, study, "ce")] == [c["training"] for c in rows(calm, study, "ce")]


def test_the_database_of_another_optuna_is_said_to_be_one(tmp_path):
    run, study = RunDirectory(tmp_path), config(losses=("ce",))
    drive(SearchFeed(study, run, RECIPE, COUNTS), run, 1)
    with contextlib.closing(sqlite3.connect(run.storage)) as database:
        database.execute("update alembic_version set version_num = 'v2.6.0.a'")
        database.commit()
    with pytest.raises(InputError, match=r"optuna.db is of another Optuna: .*optuna storage upgrade .*\nallowed: "):
        SearchFeed(study, run, RECIPE, COUNTS)


def test_a_database_that_cannot_be_written_stops_the_study_in_a_sentence(tmp_path):
    run, study = RunDirectory(tmp_path), config(losses=("ce",), replicates=1, trials=10)
    feed = SearchFeed(study, run, RECIPE, COUNTS)
    drive(feed, run, 2)
    training = feed.next()
    feed.searches[0].record.engine.dispose()
    sqlalchemy.event.listen(  # no page more than it has
        feed.searches[0].record.engine, "connect", lambda connection, _: connection.execute("PRAGMA max_page_count = 1")
    )

    def go_on():
        finish(feed, run, training)
        drive(feed, run)

    with pytest.raises(CannotGoOn, match=r"optuna.db cannot be written: database or disk is full"):
        go_on()
    feed = SearchFeed(study, run, RECIPE, COUNTS)
    assert training.key.number in feed.searches[0].finished
    drive(feed, run)
    assert all(cell is not None for cell in rows(run, study, "ce"))


def test_a_lost_database_is_filled_from_the_cells(tmp_path, capsys):
    run, study = RunDirectory(tmp_path), config()
    drive(SearchFeed(study, run, RECIPE, COUNTS), run, 40)
    run.storage.write_bytes(b"this is no database" * 100)
    order = drive(SearchFeed(study, run, RECIPE, COUNTS), run)
    assert len(order) == 20
    assert "set aside" in capsys.readouterr().out
    trials = optuna.load_study(study_name="plain/hem/r1", storage=f"sqlite:///{run.storage}").get_trials()
    assert sorted(t.user_attrs["slot"] for t in trials) == list(range(10))


def test_failed_trials_are_failed_in_the_database_too(tmp_path):
    run, study = RunDirectory(tmp_path), config(losses=("ce",), trials=40)
    drive(SearchFeed(study, run, RECIPE, COUNTS), run)
    failed = {
        (r, slot)
        for r in range(2)
        for slot in range(20)
        if run.read_cell(Key("search", "plain", "ce", "", r, slot))["state"] == "failed"
    }
    recorded = {
        (r, t.user_attrs["slot"])
        for r in range(2)
        for t in optuna.load_study(study_name=f"plain/ce/r{r}", storage=f"sqlite:///{run.storage}").get_trials()
        if t.state == TrialState.FAIL
    }
    assert failed == recorded
    assert failed


def test_slow_first_trainings_lower_the_trials_for_all_alike(tmp_path):
    run, study = RunDirectory(tmp_path), config(planned_seconds=1.0)
    told = []
    feed = SearchFeed(study, run, RECIPE, COUNTS, lowered=lambda trials, reason: told.append((trials, reason)))
    order = []
    while (training := feed.next()) is not None:
        order.append(training)
        finish(feed, run, training, seconds=2.0)  # two epochs of 2 s: 4 s where 1 s was planned
    assert told == [(4, "a first training took 4.0 s where 1.0 s were planned")]
    assert len(order) == 6 * 4
    assert feed.finished()


@pytest.mark.parametrize(("seconds", "trials"), [(2.0, 4), (0.1, 10)])
def test_killed_before_anything_was_decided_it_decides_by_what_is_done(tmp_path, seconds, trials):
    run, study = RunDirectory(tmp_path), config(planned_seconds=1.0, replicates=1, losses=("ce",), trials=10)
    feed = SearchFeed(study, run, RECIPE, COUNTS)
    for _ in range(4):
        training = feed.next()
        run.write_cell(training.key, cell_of(training, seconds))  # and before the feed hears of it the driver dies
        feed.searches[0].numbers.pop(training.key.number)
        feed.searches[0].finished.add(training.key.number)
    told = []
    feed = SearchFeed(study, run, RECIPE, COUNTS, lowered=lambda trials, reason: told.append(trials))
    assert not feed.finished()
    assert len(drive(feed, run)) == trials - 4
    assert told == [trials]
    assert feed.finished()


def test_one_slow_training_or_epoch_among_fast_ones_lowers_nothing(tmp_path):
    """A training beside other work is slow, and so is a first epoch, which warms up: neither says what one takes."""
    run, study = RunDirectory(tmp_path), config(planned_seconds=1.0)
    told = []
    feed = SearchFeed(study, run, RECIPE, COUNTS, lowered=lambda trials, reason: told.append((trials, reason)))
    for seconds in ([9.0, 9.0], [9.0, 0.1]):
        training = feed.next()
        run.write_cell(training.key, {**cell_of(training), "epochs": [{"seconds": each} for each in seconds]})
        feed.done(training, run.read_cell(training.key))
    assert told == [(10, "")]


def test_what_follows_the_shared_points_comes_from_what_they_found(tmp_path):
    found = []
    for name, sign in (("one", 1), ("other", -1)):
        run, study = RunDirectory(tmp_path / name), config(replicates=1, losses=("ce",), trials=10)
        run.path.mkdir()
        feed = SearchFeed(study, run, RECIPE, COUNTS)
        for _ in range(7):
            training = feed.next()
            cell = cell_of(training)
            run.write_cell(training.key, {**cell, "objective": 0.5 + sign * (cell["objective"] - 0.5)})
            feed.done(training, run.read_cell(training.key))
        assert training.source == "tpe"
        found.append(point_of({"training": training.to_dict()}))
    assert found[0] != found[1]


def test_fast_enough_trainings_change_nothing(tmp_path):
    run, study = RunDirectory(tmp_path), config(planned_seconds=1.0)
    told = []
    feed = SearchFeed(study, run, RECIPE, COUNTS, lowered=lambda trials, reason: told.append((trials, reason)))
    assert len(drive(feed, run)) == 60
    assert told == [(10, "")]


def test_points_lie_inside_their_ranges(tmp_path):
    from study.spaces import distributions

    run, study = RunDirectory(tmp_path), config(losses=("hem", "hem+", "logitnorm", "dice", "ldam", "ce_balanced"))
    drive(SearchFeed(study, run, RECIPE, COUNTS), run)
    for loss in study.losses:
        space = distributions(loss)
        for cell in rows(run, study, loss):
            point = point_of(cell)
            assert set(point) == set(space)
            for name, distribution in space.items():
                assert distribution._contains(distribution.to_internal_repr(point[name])), (loss, name, point[name])


def test_the_n_of_class_balanced_weights_is_searched_by_its_logarithm():
    """Of 10 to 100,000, four decades, the first and last fifth of a decade are the edge; the literature is inside."""
    space = LOSS_SPACES["ce_balanced"]
    assert space.literature(10)["N"] == 1e4
    assert [point["N"] for point in space.first_points(1000)] == [1e3, 1e2]
    near = {N: near_edge({"loss.N": N}, "ce_balanced") == ["loss.N"] for N in (15.0, 16.0, 1e4, 6.3e4, 6.4e4)}
    assert near == {15.0: True, 16.0: False, 1e4: False, 6.3e4: False, 6.4e4: True}


def test_no_smoothing_at_all_is_not_the_edge_of_a_range_cut_too_short():
    smoothing = LOSS_SPACES["ce"].distributions["label_smoothing"]
    near = [near_edge({"loss.label_smoothing": share * smoothing.high}, "ce") for share in (0.0, 0.01, 0.5, 1.0)]
    assert near == [[], [], [], ["loss.label_smoothing"]]


def test_a_users_loss_tries_its_own_parameters_on_every_shared_point():
    points = opening(
        "examples.own_loss:GeneralisedCE",
        RECIPE,
        seed=0,
        method="plain",
        replicate=0,
        num_classes=10,
        num_samples=1000,
        trials=8,
    )
    tried = [point["loss.q"] for source, point in points if source == "shared"]
    assert points[0][1]["loss.q"] == 0.7, "the literature point keeps its defaults"
    assert len(set(tried)) == len(tried) == 4
    assert all(0.1 <= q <= 1.0 for q in tried)


@pytest.mark.parametrize(("trials", "shared"), [(1, 0), (2, 1), (3, 1), (4, 2), (7, 3), (30, 15)])
def test_half_of_the_trials_rounded_down_are_shared_points(trials, shared):
    where = {"method": "plain", "replicate": 0, "num_classes": 10, "num_samples": 1000}
    sources = [source for source, _ in opening("hem", RECIPE, seed=0, trials=trials, **where)]
    assert sources == ["literature", *["shared"] * shared]


@pytest.mark.parametrize("shared", ["learning_rate", "weight_decay"])
@pytest.mark.parametrize(("loss", "own"), [("hem", "M"), ("ce", "label_smoothing")])
@pytest.mark.parametrize("trials", [12, 40])
def test_a_losss_own_parameters_do_not_go_in_step_with_the_shared_ones(loss, own, shared, trials):
    """In 100 searches, long and short, the two lie on the same side of their middles as often as on different ones.

    Of the four points that are left of 12 trials all lie alike in an eighth by chance, here in up to 28.
    """
    where = {"method": "plain", "replicate": 0, "num_classes": 10, "num_samples": 1000}
    same, most = [], 0
    for seed in range(100):
        points = [p for _, p in opening(loss, RECIPE, seed=seed, trials=trials, **where)][3:]
        sides = [(p[shared] > MIDDLE[shared], p[f"loss.{own}"] > MIDDLE[own]) for p in points]
        alike = sum(a == b for a, b in sides)
        same.append(alike / len(sides))
        most += alike in (0, len(sides))
    assert np.mean(same) == pytest.approx(0.5, abs=0.1)
    assert most <= 35, "where all are alike, or all are not, half of the plane was left out"


def test_a_search_of_other_parameters_is_not_gone_on_with(tmp_path):
    """As of a run of an older version: what it has done stays, and nothing of it goes into a search of now."""
    run, study = RunDirectory(tmp_path), config(losses=("ce", "hem"))
    drive(SearchFeed(study, run, RECIPE, COUNTS), run, stop_after=5)
    refuse_other_space(study, run, 10)
    key = Key("search", "plain", "hem", "", 0, 0)
    cell = run.read_cell(key)
    cell["training"]["loss_parameters"] = {"mu": 0.2}
    run.write_cell(key, {name: value for name, value in cell.items() if name != "key"})
    said = r"the search of hem was begun with .*, loss\.mu, .*\nnow it has .*loss\.M, .*\nfinish the run with"
    with pytest.raises(InputError, match=said):
        refuse_other_space(study, run, 10)
    refuse_other_space(study, run, 1)  # it has all that it was to have
    run.storage.unlink()
    [hem] = [one for one in SearchFeed(study, run, RECIPE, COUNTS).searches if (one.loss, one.replicate) == ("hem", 0)]
    assert 0 in hem.finished
    assert all("loss.M" in trial.params for trial in hem.optuna_study.get_trials())


def test_a_search_of_other_ranges_is_not_gone_on_with(tmp_path, monkeypatch):
    """Of a loss of one's own: its points would come from two spaces, and its winner be near the edge of one of them."""
    loss = "examples.own_loss:GeneralisedCE"
    run, study = RunDirectory(tmp_path), config(dataset="digits", losses=("ce", loss))
    drive(SearchFeed(study, run, RECIPE, COUNTS), run, stop_after=5)
    then = {"own_ranges": {loss: declared_ranges(loss)}, "budget": {}}
    refuse_other_space(study, run, 10, then["own_ranges"])
    monkeypatch.setattr(GeneralisedCE, "ranges", {"q": (0.6, 0.8, "linear")})
    said = r'the search of examples.* was begun with the ranges .*"low": 0.1, .*\nnow it has the ranges .*"low": 0.6, '
    with pytest.raises(InputError, match=said):
        refuse_other_space(study, run, 10, then["own_ranges"])
    refuse_other_space(study, run, 1, then["own_ranges"])  # it has all that it was to have
    assert describe(then, study, digits())["own_ranges"][loss]["q"]["low"] == 0.1, "those of the search"
    SearchFeed(study, run, RECIPE, COUNTS, trials=1)
