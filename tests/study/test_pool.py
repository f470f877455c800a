"""The pool on a real Ray: reused processes, several ranks, crashes, hangs."""

import json
import os
import time
from pathlib import Path

import psutil
import pytest
import torch

from study import run as run_module
from study.config import DRIVER_CPU, Resources
from study.data.embedded import digits
from study.environment import prepare
from study.errors import CannotGoOn, InputError
from study.run import Key, RunDirectory
from study.trial import Training, run_training
from tests.study.test_science import config

RECIPE = {
    "learning_rate": 0.1,
    "weight_decay": 1e-4,
    "momentum": 0.9,
    "schedule": "cosine",
    "warmup_epochs": 1,
    "batch_size": 64,
    "augmentation": "none",
}
HERE = "tests.study.test_pool"


class Dies(torch.nn.CrossEntropyLoss):
    """Ends its process the first time that it is trained with, or every time."""

    defaults = {"mark": 0.0}  # noqa: RUF012

    def __init__(self, class_counts, mark):
        super().__init__()
        self.always = mark > 0

    def forward(self, logits, target):
        mark = os.environ["HEM_STUDY_TEST_MARK"]
        if self.always or not os.path.exists(mark):
            open(mark, "w").close()
            os._exit(1)
        return super().forward(logits, target)


class Raises(torch.nn.CrossEntropyLoss):
    """Raises in training."""

    def __init__(self, class_counts):
        super().__init__()

    def forward(self, logits, target):
        raise ArithmeticError("no such number")


class RankDies(torch.nn.CrossEntropyLoss):
    """Ends the process of rank 1 in the third step of the first training that is tried with it."""

    mark = "-rank"

    def __init__(self, class_counts):
        super().__init__()
        self.steps = 0

    def forward(self, logits, target):
        self.steps += 1
        mark = os.environ["HEM_STUDY_TEST_MARK"] + self.mark
        if torch.distributed.get_rank() == 1 and self.steps == 3 and not os.path.exists(mark):
            self.kill(mark)
        return super().forward(logits, target)

    def kill(self, mark):
        open(mark, "w").close()
        os._exit(1)


class PostDies(RankDies):
    """Kills the process that watches over the ranks, in the same step."""

    mark = "-post"

    def kill(self, mark):
        for process in psutil.Process().parent().children():
            if process.is_running() and process.name().startswith("ray::_Post"):
                process.kill()
                open(mark, "w").close()


class Notes(torch.nn.CrossEntropyLoss):
    """Notes which process it is in."""

    def __init__(self, class_counts):
        super().__init__()
        with open(os.environ["HEM_STUDY_TEST_MARK"] + "-processes", "a") as file:
            file.write(f"{os.getpid()}\n")


class Hangs(torch.nn.CrossEntropyLoss):
    """Never comes back."""

    def __init__(self, class_counts):
        super().__init__()

    def forward(self, logits, target):
        while True:
            time.monotonic()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A local Ray with two CPUs."""
    prepare(verbose=False)
    mark = tmp_path_factory.mktemp("mark") / "died"
    os.environ.update(RAY_AUTH_MODE="disabled", HEM_STUDY_TEST_MARK=str(mark))
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield ray
    ray.shutdown()


@pytest.fixture
def processes(cluster):
    """Where the processes of a test are noted."""
    path = Path(os.environ["HEM_STUDY_TEST_MARK"] + "-processes")
    path.unlink(missing_ok=True)
    return path


def trainings(*losses, **parameters):
    return [
        Training(Key("confirm", "plain", loss, "default", 0, n), RECIPE, parameters, 3, keep_weights=True)
        for n, loss in enumerate(losses)
    ]


def train(cluster, path, work, **resources):
    from study.pool import ListFeed, run_pool
    from study.progress import StageProgress, totals_by_loss

    run = RunDirectory(path)
    path.mkdir(exist_ok=True)
    progress = StageProgress("confirm", totals_by_loss(t.key for t in work))
    study = config(losses=tuple({t.key.loss: 0 for t in work}), replicates=1, trials=2)
    run_pool(iter([(ListFeed(work), progress)]), study, Resources(**resources), run, cluster.put(digits()))
    return run, study


def all_cpus_come_back(cluster):
    """Say whether both CPUs are free, within a minute: Ray counts them from time to time."""
    until = time.monotonic() + 60
    while (free := cluster.available_resources().get("CPU", 0.0)) < 2 and time.monotonic() < until:
        cluster.wait([cluster.put(0)], timeout=0.2)
    return free == 2


def test_two_ranks_through_ray_train_give_what_one_process_gives(cluster, tmp_path):
    work = trainings("hem+", M=400.0)
    ranks, study = train(cluster, tmp_path / "ranks", work, workers_per_trial=2)
    alone = RunDirectory(tmp_path / "alone")
    expected = run_training(work[0], study, digits(), alone)
    cell = ranks.read_cell(work[0].key)
    assert cell["state"] == "complete", cell
    for ours, theirs in zip(cell["epochs"], expected["epochs"], strict=True):
        for name in ("train_loss", "gradient_norm", "logit_scale", "validation_balanced_accuracy"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-4), name
    weights, same = (torch.load(run.model(work[0].key), weights_only=True)["weights"] for run in (ranks, alone))
    for name, tensor in weights.items():
        torch.testing.assert_close(tensor, same[name], rtol=1e-3, atol=1e-5)


def test_a_training_in_the_pool_is_bit_for_bit_one_outside(cluster, tmp_path):
    work = trainings("ce", label_smoothing=0.0)
    pooled, study = train(cluster, tmp_path / "pool", work)
    alone = RunDirectory(tmp_path / "alone")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a trial that was given one CPU
    run_training(work[0], study, digits(), alone)
    torch.set_num_threads(threads)
    weights, same = (torch.load(run.model(work[0].key), weights_only=True)["weights"] for run in (pooled, alone))
    assert all(torch.equal(tensor, same[name]) for name, tensor in weights.items())


def test_what_raises_or_dies_is_a_failed_cell_and_the_others_go_on(cluster, tmp_path, capsys):
    work = trainings(f"{HERE}:Raises", "ce", f"{HERE}:Dies")
    run, _ = train(cluster, tmp_path / "run", work)
    cells = {key.loss.rpartition(":")[2]: cell for key, cell in run.cells("confirm")}
    assert cells["ce"]["state"] == "complete"
    assert cells["Dies"]["state"] == "complete", "one death is forgiven"
    assert cells["Raises"]["reason"] == "error"
    assert "ArithmeticError: no such number" in cells["Raises"]["error"]
    assert "forward" in cells["Raises"]["traceback"]
    assert "failed: ArithmeticError" in capsys.readouterr().out


class Meets(Notes):
    """Notes which process it is in, and waits there until a second one has."""

    def __init__(self, class_counts):
        super().__init__(class_counts)
        while len(set(Path(os.environ["HEM_STUDY_TEST_MARK"] + "-processes").read_text().split())) < 2:
            time.sleep(0.01)


def note(key, config, source, run, device):
    """Note which process a job is in, as the loss does for trainings."""
    Notes(())
    return {"state": "complete", "images": len(source.train), "device": device, "here": os.getcwd()}


def meet(key, config, source, run, device):
    Meets(())
    return {"state": "complete"}


def kill_others(key, config, source, run, device):
    """Kill the other process that was noted; it is idle."""
    for noted in set(Path(os.environ["HEM_STUDY_TEST_MARK"] + "-processes").read_text().split()) - {str(os.getpid())}:
        psutil.Process(int(noted)).kill()
    return {"state": "complete"}


def dies(key, config, source, run, device):
    """End the process, whenever it is tried."""
    os._exit(1)


def raises(key, config, source, run, device):
    raise ArithmeticError("no such number")


def test_trainings_and_jobs_have_the_same_processes(cluster, processes, tmp_path):
    """A process that is idle for a stage, as one is where jobs wait for each other, does the next stage's work."""
    from study.pool import ListFeed, run_pool
    from study.progress import StageProgress
    from study.work import Job, JobFeed

    run, loss = RunDirectory(tmp_path), f"{HERE}:Meets"
    keys = [Key("evaluate", "plain", "ce", "tuned", 0, number) for number in range(6)]
    one_by_one = [Job(key, note, after=tuple(keys[:n])) for n, key in enumerate(keys[:4])]
    at_once = [Job(key, meet) for key in keys[4:]]
    feeds = (ListFeed(trainings(loss, loss)), JobFeed(one_by_one), JobFeed(one_by_one), JobFeed(at_once))
    shown = ((feed, StageProgress("", {loss: 2, "ce": 4})) for feed in feeds)
    run_pool(shown, config(losses=(loss, "ce"), replicates=1, trials=2), Resources(), run, cluster.put(digits()))
    noted = processes.read_text().split()
    assert len(noted) == 8, "what is done is not done again"
    assert len(set(noted)) == len(set(noted[:2])) == len(set(noted[6:])) == 2
    assert [run.read_cell(key)["images"] for key in keys[:4]] == [1797] * 4
    assert [run.read_cell(key)["device"] for key in keys[:4]] == ["cpu"] * 4
    assert run.read_cell(keys[0])["here"] == os.getcwd(), "a path of the command line is meant from here"


def test_a_process_that_dies_while_it_is_idle_costs_no_work_a_try(cluster, processes, tmp_path, monkeypatch):
    from study import pool
    from study.progress import StageProgress
    from study.work import Job, JobFeed

    monkeypatch.setattr(pool, "DEATHS_ALLOWED", 0)
    run, keys = RunDirectory(tmp_path), [Key("evaluate", "plain", "ce", "tuned", 0, number) for number in range(6)]
    stages = zip((meet, kill_others, note), (keys[:2], keys[2:3], keys[3:]), strict=True)
    feeds = [JobFeed(Job(key, work) for key in some) for work, some in stages]
    shown = ((feed, StageProgress("", {"ce": len(feed.waiting)})) for feed in feeds)
    study = config(losses=("ce",), replicates=1, trials=2)
    pool.run_pool(shown, study, Resources(), run, cluster.put(digits()))
    assert [run.read_cell(key)["state"] for key in keys] == ["complete"] * 6
    assert len(set(processes.read_text().split())) in (2, 3), "another one need not be up before all is done"


def test_a_job_that_raises_or_whose_process_dies_is_a_failed_cell_that_can_be_tabled(cluster, tmp_path):
    from study import tables
    from study.cost import cost_key
    from study.pool import run_pool
    from study.progress import StageProgress
    from study.shape import cell_shape, mismatch
    from study.work import Job, JobFeed

    run, study = RunDirectory(tmp_path), config(losses=("ce",), replicates=1, trials=2)
    keys = [cost_key(study), *(Key(stage, "plain", "ce", "", 0, 0) for stage in ("evaluate", "attack"))]
    jobs = [
        Job(key, work, after=tuple(keys[:n]))
        for n, (key, work) in enumerate(zip(keys, (dies, raises, note), strict=True))
    ]
    run_pool(iter([(JobFeed(jobs), StageProgress("", {"ce": 3}))]), study, Resources(), run, cluster.put(digits()))
    died, raised, done = (run.read_cell(key) for key in keys)
    assert (died["state"], died["reason"]) == ("failed", "process")
    assert died["error"].startswith("its process died 3 times")
    assert (raised["state"], raised["error"]) == ("failed", "ArithmeticError: no such number")
    assert "in raises" in raised["traceback"]
    assert done["state"] == "complete", "what waits for others does not wait for their success"
    for key, cell in zip(keys[:2], (died, raised), strict=True):
        assert not mismatch(cell, cell_shape(key.stage, "failed"), "cell")
    assert len(tables.build(study, run, {})["timing"]) == 2


def test_what_hangs_is_ended_after_the_time_limit(cluster, tmp_path):
    run, _ = train(cluster, tmp_path / "run", trainings(f"{HERE}:Hangs"), trial_timeout=0.5)
    ((_, cell),) = run.cells("confirm")
    assert cell["reason"] == "timeout"
    assert "--trial-timeout" in cell["error"]


def test_the_cpus_of_ranks_that_hang_come_back(cluster, tmp_path):
    run, _ = train(cluster, tmp_path / "run", trainings(f"{HERE}:Hangs"), trial_timeout=0.5, workers_per_trial=2)
    ((_, cell),) = run.cells("confirm")
    assert cell["reason"] == "timeout"
    assert all_cpus_come_back(cluster)


def test_ranks_train_one_training_after_another_and_others_follow_those_that_die(cluster, processes, tmp_path):
    mark = os.environ["HEM_STUDY_TEST_MARK"]
    losses = ("Notes", "Notes", "RankDies", "Raises", "Notes")
    work = trainings(*(f"{HERE}:{loss}" for loss in losses))
    run, _ = train(cluster, tmp_path / "run", work, workers_per_trial=2)
    cells = [run.read_cell(training.key) for training in work]
    assert [cell["state"] for cell in cells] == ["complete"] * 3 + ["failed", "complete"]
    assert os.path.exists(mark + "-rank")
    assert cells[3]["reason"] == "error"
    assert cells[3]["error"] == "ArithmeticError: no such number"
    assert "in forward" in cells[3]["traceback"]
    noted = processes.read_text().split()
    assert set(noted[:2]) == set(noted[2:4]), "one training after another in the same processes"
    assert not set(noted[:2]) & set(noted[4:])
    assert all_cpus_come_back(cluster)


def test_when_what_watches_over_the_ranks_dies_the_study_ends_and_can_go_on(cluster, tmp_path):
    work = trainings("ce", f"{HERE}:PostDies")
    with pytest.raises(CannotGoOn, match="the process that gives trainings to ranks has died"):
        train(cluster, tmp_path / "run", work, workers_per_trial=2)
    assert os.path.exists(os.environ["HEM_STUDY_TEST_MARK"] + "-post")
    assert all_cpus_come_back(cluster)
    finished = RunDirectory(tmp_path / "run").read_cell(work[0].key)
    run, _ = train(cluster, tmp_path / "run", work, workers_per_trial=2)
    assert run.read_cell(work[0].key) == finished
    assert run.read_cell(work[1].key)["state"] == "complete"
    assert all_cpus_come_back(cluster)


def test_several_groups_train_at_once(cluster, processes, tmp_path):
    resources = {"workers_per_trial": 2, "cpus_per_worker": 0.5}
    run, _ = train(cluster, tmp_path / "run", trainings(*[f"{HERE}:Notes"] * 4), **resources)
    assert [cell["state"] for _, cell in run.cells("confirm")] == ["complete"] * 4
    assert len(set(processes.read_text().split())) == 4, "two groups of two"
    assert all_cpus_come_back(cluster)


def test_what_is_left_of_a_group_is_given_back_and_nothing_else(cluster):
    from ray.util.placement_group import placement_group, placement_group_table, remove_placement_group

    from study.rank_group import give_back

    class Controller:
        def hold(self, *cpus):
            self.place = placement_group([{"CPU": number} for number in cpus])
            return self.place

    def held():
        return [table[place.id.hex()]["state"] == "CREATED" for place in places]

    resources, rank = Resources(workers_per_trial=2, cpus_per_worker=0.25), 0.25 - DRIVER_CPU
    controller = cluster.remote(num_cpus=0)(Controller).remote()
    sizes = [(rank, rank), (rank, rank), (rank,), (rank, 0.01)]
    places = [cluster.get(controller.hold.remote(*size)) for size in sizes]
    assert all(place.wait(30) for place in places)
    cluster.kill(controller)
    table = placement_group_table()
    assert held() == [True, True, True, True], "Ray keeps them, though what laid hold of them is dead"
    give_back(resources)
    table = placement_group_table()
    assert held() == [False, False, True, True]
    for place in places:
        remove_placement_group(place)


def test_a_process_that_always_dies_is_given_up(cluster, tmp_path):
    work = trainings(f"{HERE}:Dies", mark=1.0)
    run, _ = train(cluster, tmp_path / "run", work)
    cell = run.read_cell(work[0].key)
    assert cell["reason"] == "process"
    assert "died 3 times" in cell["error"]


def test_the_readable_names_of_trials(cluster, tmp_path):
    run, _ = train(cluster, tmp_path / "run", trainings("hem", M=100.0))
    assert list((run.path / "tune" / "trainings").glob("confirm~plain~hem~default~r0~n000*"))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"gpus_per_trial": 1}, "1 GPU"),
        ({"gpus_per_trial": 0.25}, r"1 CPU, 0.25 GPU, 1 at a time; the nodes of the cluster have: 2 CPU, 0 GPU"),
        ({"cpus_per_trial": 64}, "64 CPU"),
        ({"cpus_per_trial": 2.5}, "2.5 CPU"),
        ({"workers_per_trial": 3}, "3 at a time"),
        ({"workers_per_trial": 2, "cpus_per_worker": 2}, "2 CPU, 2 at a time"),
        ({"workers_per_trial": 2, "gpus_per_worker": 1}, "1 GPU, 2 at a time"),
    ],
)
def test_what_the_cluster_never_has_is_refused(cluster, asked, words):
    from study.nodes import concurrency

    with pytest.raises(InputError, match=words):
        concurrency(Resources(**asked))
    assert concurrency(Resources()) == 2
    assert concurrency(Resources(max_concurrent=1)) == 1
    assert concurrency(Resources(workers_per_trial=2)) == 1


@pytest.mark.parametrize(
    ("asked", "room"),
    [
        ({"gpus_per_trial": 0.25}, 6),  # four on the first GPU, two on the second, which has two CPUs
        ({"gpus_per_trial": 0.4}, 4),  # two on each: a training does not lie on two
        ({"gpus_per_trial": 0.25, "cpus_per_trial": 0.5}, 8),
        ({"gpus_per_trial": 0.25, "cpus_per_trial": 4}, 2),
        ({"gpus_per_trial": 1}, 2),
        ({"gpus_per_trial": 1, "cpus_per_trial": 16}, 0),
        ({"workers_per_trial": 2, "gpus_per_worker": 1}, 1),  # one worker a node
    ],
)
def test_fractions_of_gpus_by_hand(monkeypatch, asked, room):
    """Two nodes that are there, with 8 and 2 CPUs and a GPU each, and one that is gone."""
    from study import pool

    nodes = [{"Alive": True, "Resources": {"CPU": cpus, "GPU": 1.0}} for cpus in (8.0, 2.0)]
    monkeypatch.setattr(pool.ray, "nodes", lambda: [*nodes, {"Alive": False, "Resources": {"CPU": 99.0, "GPU": 99.0}}])
    if room:
        assert pool.concurrency(Resources(**asked)) == room
    else:
        with pytest.raises(InputError, match="the nodes of the cluster have: 8 CPU, 1 GPU; 2 CPU, 1 GPU"):
            pool.concurrency(Resources(**asked))


def test_cells_are_plain_json(cluster, tmp_path):
    run, _ = train(cluster, tmp_path / "run", trainings("mm", margin=1.0))
    path = next((run.path / "cells").rglob("*.json"))
    assert json.loads(path.read_text())["state"] == "complete"


class Shown:
    """A progress that remembers."""

    def __init__(self):
        self.finished = []

    def started(self, key):
        pass

    def done(self, key, cell):
        self.finished.append((key.number, cell["state"]))


def test_what_ran_when_memory_was_exhausted_is_tried_again_alone_and_given_up_after_three_times(tmp_path):
    from study.pool import ListFeed, Searcher, _FeedSearcher

    run, shown, work = RunDirectory(tmp_path), Shown(), trainings("ce", "hem", "mm")
    searcher = _FeedSearcher(iter([(ListFeed(work), shown)]), run, lambda: 2)
    given = [searcher.suggest(name)["training"]["key"]["loss"] for name in ("a", "b")]
    assert given == ["ce", "hem"]
    searcher.begun.update(("a", "b"))
    searcher.evicted()
    searcher.alone = True
    assert searcher.suggest("c")["training"]["key"]["loss"] == "ce"
    run.write_cell(work[0].key, {"state": "complete", "seconds": 1.0})
    searcher.on_trial_complete("c")
    for name in ("d", "e"):
        assert searcher.suggest(name)["training"]["key"]["loss"] == "hem"
        assert searcher.suggest("x") is None, "one at a time"
        searcher.begun.add(name)
        searcher.evicted()
    assert searcher.suggest("f") == Searcher.FINISHED
    assert shown.finished == [(0, "complete"), (1, "failed")]
    assert run.read_cell(work[1].key)["reason"] == "process"
    searcher.alone = False
    assert searcher.suggest("g")["training"]["key"]["loss"] == "mm", "the others follow"


def test_a_process_that_dies_is_counted_by_training_and_not_by_tune(tmp_path):
    from study.pool import ListFeed, Searcher, _FeedSearcher

    run, shown, work = RunDirectory(tmp_path), Shown(), trainings("ce")
    searcher = _FeedSearcher(iter([(ListFeed(work), shown)]), run, lambda: 2)
    for name in ("a", "b", "c", "d", "e"):
        assert searcher.suggest(name)["training"]["key"]["loss"] == "ce"
        assert shown.finished == []
        if name not in ("a", "d"):  # those were given to processes that had died while they were idle
            searcher.begun.add(name)
        searcher.on_trial_complete(name, error=True)
        searcher.on_trial_complete(name, error=True)  # Tune may say it twice
    assert shown.finished == [(0, "failed")]
    assert "died 3 times" in run.read_cell(work[0].key)["error"]
    assert searcher.suggest("f") == Searcher.FINISHED


def test_places_are_counted_when_a_stage_begins(tmp_path):
    from study.pool import ListFeed, Searcher, _FeedSearcher

    run, shown, work, found = RunDirectory(tmp_path), Shown(), trainings(*["ce"] * 6), [3, InputError("none"), 1]

    def places():
        number = found.pop()
        if isinstance(number, InputError):
            raise number
        return number

    feeds = [ListFeed(some) for some in (work[:1], work[1:2], work[2:])]
    searcher = _FeedSearcher(iter([(feed, shown) for feed in feeds]), run, places)
    for number, name in enumerate(("a", "b")):
        assert searcher.suggest(name)["training"]["key"]["number"] == number
        assert searcher.suggest("x") is None
        run.write_cell(work[number].key, {"state": "complete", "seconds": 1.0})
        searcher.on_trial_complete(name)
    assert [searcher.suggest(name) is None for name in "cdef"] == [False, False, False, True]
    assert searcher.suggest("g") != Searcher.FINISHED


def test_a_cell_that_another_node_has_written_is_awaited(tmp_path, monkeypatch):
    from study.pool import ListFeed, _FeedSearcher

    run, shown, work = RunDirectory(tmp_path), Shown(), trainings("ce", "hem")
    searcher = _FeedSearcher(iter([(ListFeed(work), shown)]), run, lambda: 2)
    for name in ("a", "b"):
        searcher.suggest(name)
    late = {"state": "complete", "seconds": 1.0}
    monkeypatch.setattr(run_module.time, "sleep", lambda seconds: run.write_cell(work[0].key, late))
    searcher.on_trial_complete("a", {"done": 1})
    assert shown.finished == [(0, "complete")]
    monkeypatch.setattr(RunDirectory, "awaited_cell", lambda run, key: None)
    searcher.on_trial_complete("b", {"done": 1})
    assert shown.finished == [(0, "complete")], "it is not taken for a death"
    with pytest.raises(CannotGoOn, match="do all nodes write to the same"):
        raise searcher.trouble


def test_work_that_could_not_be_given_to_an_idle_process_is_given_again(tmp_path):
    from types import SimpleNamespace

    from study.pool import ListFeed, _FeedSearcher, _Watch

    run, shown, work = RunDirectory(tmp_path), Shown(), trainings("ce")
    searcher = _FeedSearcher(iter([(ListFeed(work), shown)]), run, lambda: 2)
    watch = _Watch(searcher, SimpleNamespace(look=lambda: None))
    searcher.suggest("a")
    trials = [
        SimpleNamespace(trial_id=name, status=state, ERROR="ERROR") for name, state in (("a", "ERROR"), ("z", ""))
    ]
    watch.on_step_begin(0, trials)
    assert searcher.suggest("b")["training"]["key"]["loss"] == "ce"
    watch.on_step_begin(1, trials)
    assert searcher.suggest("c") is None
    assert not searcher.deaths


def test_no_more_processes_can_have_died_while_idle_than_there_are(tmp_path):
    from study.pool import ListFeed, _FeedSearcher

    run, shown, work = RunDirectory(tmp_path), Shown(), trainings("ce")
    searcher = _FeedSearcher(iter([(ListFeed(work), shown)]), run, lambda: 2)
    for name in "abcde":
        assert shown.finished == []
        searcher.suggest(name)
        searcher.on_trial_complete(name, error=True)
    assert shown.finished == [(0, "failed")]


def test_a_run_of_tune_that_ray_ended_for_want_of_memory_is_followed_by_another(cluster, tmp_path, monkeypatch):
    from ray.exceptions import OutOfMemoryError

    from study import pool

    whole, at_a_time = pool._tune, []

    def ended_once(searcher, *rest):
        at_a_time.append(1 if searcher.alone else searcher.at_a_time)
        if len(at_a_time) == 1:
            assert searcher.suggest("evicted") is not None
            raise RuntimeError("Caught unexpected exception") from OutOfMemoryError("1 worker(s) were killed")
        whole(searcher, *rest)

    monkeypatch.setattr(pool, "_tune", ended_once)
    run, _ = train(cluster, tmp_path / "run", trainings("ce", "hem"))
    assert [cell["state"] for _, cell in run.cells("confirm")] == ["complete", "complete"]
    assert at_a_time == [2, 1, 2]
