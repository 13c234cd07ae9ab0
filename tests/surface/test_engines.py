"""Every engine computes the same surface; which one, how many workers and in which order changes nothing."""

from __future__ import annotations

import threading
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from landscape import plotting
from landscape.errors import ConfigError, MismatchError, ModelError
from landscape.loss_checks import ReductionWarning
from landscape.models import build_model
from landscape.objective import Objective
from landscape.seeding import generator, seeded
from landscape.surface import (
    Surface,
    collector,
    engine_choice,
    evaluate_surface,
    graphed,
    random_plane,
    recompute_batch_norm,
    single,
)
from landscape.surface.engines import ENGINES, build_engine
from landscape.surface.single import FoldedEngine
from landscape.surface.threads import one_thread

HERE = [name for name in ENGINES if name != "graphed"]  # which needs a CUDA device


def make(kind: str, dtype: torch.dtype = torch.float32, examples: int = 70) -> Objective:
    """An objective with ragged batches whose statistics are no longer the first ones."""
    stream = generator(0, "tests", kind)
    with seeded(0, "tests", kind):
        if kind == "mlp":
            model: nn.Module = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 3))
            inputs = torch.randn(examples, 6, generator=stream)
        else:
            model = nn.Sequential(
                nn.Conv2d(2, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3, stride=2), nn.BatchNorm2d(4),
                nn.ReLU(), nn.Flatten(), nn.Linear(36, 3),
            )  # fmt: skip
            inputs = torch.randn(examples, 2, 10, 10, generator=stream)
        model(inputs)
    return Objective(model.to(dtype), (inputs, torch.arange(examples) % 3), batch_size=32)


def surface(objective: Objective, **options: object) -> Surface:
    settings = {"points": 9, "extent": 0.7, "progress": False} | options
    return evaluate_surface(objective, random_plane(objective, seed=1), **settings)


def bits(found: Surface) -> tuple[bytes, ...]:
    return found.loss.tobytes(), found.accuracy.tobytes(), found.status.tobytes()


@pytest.mark.parametrize(("kind", "engine"), [("conv", "folded"), ("conv", "stacked"), ("mlp", "stacked")])
@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_engines_agree(kind, engine, dtype, close):
    """Relative to the range: rounding in another order, of 2e-16 and 1e-7."""
    objective = make(kind, dtype)
    plain, found = surface(objective, engine="plain"), surface(objective, engine=engine)
    assert found.provenance["engine"] == engine
    assert np.abs(found.loss - plain.loss).max() <= close * np.ptp(plain.loss)
    assert np.abs(found.accuracy - plain.accuracy).max() <= (0 if dtype == torch.float64 else 1 / 70)
    assert found.center_loss == plain.center_loss == objective.evaluate().loss


@pytest.mark.parametrize(
    ("kind", "engine"), [("conv", "plain"), ("conv", "folded"), ("conv", "stacked"), ("mlp", "stacked")]
)
def test_order_and_workers_change_no_bit(kind, engine):
    objective = make(kind)
    expected = bits(surface(objective, engine=engine, workers=1))
    for workers in (2, 3):
        for order in ("rows", "coarse-to-fine"):
            assert bits(surface(objective, engine=engine, workers=workers, order=order)) == expected


def in_turn(engine, coordinates, blocks, workers, done):
    """As one worker's thread, but never ahead of who takes the points: no point is done after Ctrl-C."""
    with one_thread(engine.objective.device):
        for block in blocks:
            yield block, *engine.evaluate([coordinates[k] for k in block])


@pytest.mark.parametrize("engine", HERE)
def test_a_resumed_surface_has_the_same_bits(engine, tmp_path):
    objective = make("conv")
    whole = bits(surface(objective, engine=engine, points=13))

    def stop(found: Surface) -> None:
        if (found.status > 0).sum() > 10:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collector, "in_threads", in_turn)
        patch.setattr(collector.time, "monotonic", iter(range(10_000)).__next__)
        with pytest.raises(KeyboardInterrupt):
            surface(objective, engine=engine, points=13, workers=1, store=tmp_path, on_update=stop)
    rest = surface(objective, engine=engine, points=13, store=tmp_path)
    assert bits(rest) == whole and 10 < rest.provenance["points_resumed"] < 169


def test_a_store_goes_on_with_the_engine_it_was_begun_with(tmp_path, monkeypatch):
    objective = make("mlp")
    surface(objective, engine="stacked", store=tmp_path)
    monkeypatch.setattr(engine_choice, "_measured", None)  # nothing is measured or checked again
    for engine in ("auto", "stacked"):
        again = surface(objective, engine=engine, store=tmp_path)
        assert again.provenance["engine"] == "stacked" and again.provenance["points_resumed"] == 81
    with pytest.raises(MismatchError, match="another engine"):
        surface(objective, engine="plain", store=tmp_path)


def test_the_fastest_that_agrees_is_taken(monkeypatch):
    monkeypatch.setattr(engine_choice, "_CALLS", 0.0)
    objective = make("conv")
    found = surface(objective, points=13).provenance
    assert found["engine"] == min(found["engine_seconds"], key=found["engine_seconds"].get)
    assert set(found["engine_seconds"]) == {"plain", "folded", "stacked"} and not found["engine_refused"]

    slow = iter(range(10_000))  # every look at the clock takes a second: all engines are equally fast, the first stays
    monkeypatch.setattr(engine_choice.time, "perf_counter", lambda: float(next(slow)))
    assert surface(objective, points=13).provenance["engine"] in ("plain", "stacked")


@pytest.mark.parametrize("dear", [False, True])
def test_many_points_at_once_are_tried_where_calls_take_the_time(monkeypatch, dear):
    """Trying takes the time of 128 points: seconds, where numbers take the time and it is no faster."""
    monkeypatch.setattr(engine_choice, "_calls", lambda *_: float("inf") if dear else 0.0)
    found = surface(make("mlp"), points=13).provenance
    assert ("stacked" in found["engine_seconds"]) == dear
    assert ("on numbers" in found["engine_refused"].get("stacked", "")) == (not dear)


def test_calls_are_those_of_a_few_examples_in_as_many_batches(monkeypatch):
    seen = []

    def measured(engine, probe):
        seen.append((engine.name, engine.objective.examples))
        return [], 0.5

    monkeypatch.setattr(engine_choice, "_measured", measured)
    objective = make("mlp")
    batches = sum(1 for _ in objective.batches())
    found = engine_choice._calls(objective, [torch.zeros(objective.size)], [[0.1], [0.2]])
    assert found == 0.5 * batches and batches > 1 and seen == [("plain", 4)]


@pytest.mark.parametrize("kind", ["conv", "mlp"])
def test_the_name_of_what_was_chosen_gives_the_same_bits(kind):
    objective = make(kind)
    found = surface(objective, points=13)
    assert bits(surface(objective, points=13, engine=found.provenance["engine"])) == bits(found)


def test_a_store_goes_on_with_its_engine_where_another_would_be_chosen_now(tmp_path, monkeypatch):
    objective = make("conv")
    whole, stops = bits(surface(objective, engine="folded", points=13)), iter(range(10_000))

    def measured(seconds):
        real = engine_choice._measured

        def measure(engine, probe, *, turns=2):
            return real(engine, probe, turns=turns)[0], seconds.get(engine.name, 1.0)

        return measure

    def stop(found: Surface) -> None:
        if next(stops) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("landscape.surface.collector.time.monotonic", iter(range(10_000)).__next__)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collector, "in_threads", in_turn)
        patch.setattr(engine_choice, "_measured", measured({"folded": 0.1}))
        with pytest.raises(KeyboardInterrupt):
            surface(objective, points=13, workers=1, store=tmp_path, on_update=stop)
    monkeypatch.setattr(engine_choice, "_measured", measured({"plain": 0.1}))
    assert surface(objective, points=13).provenance["engine"] == "plain"
    rest = surface(objective, points=13, store=tmp_path)
    assert rest.provenance["engine"] == "folded" and 0 < rest.provenance["points_resumed"] < 169 and bits(rest) == whole


@pytest.mark.parametrize("wrong", ["differs", "differs by position", "raises"])
def test_an_engine_that_is_wrong_is_refused(monkeypatch, wrong):
    real = ENGINES["stacked"].evaluate

    def evaluate(self, points):
        if wrong == "raises":
            raise RuntimeError("no batching rule\nfor this operation")
        loss, accuracy = real(self, points)
        noise = torch.linspace(0, 1e-12, len(loss)).double() if wrong == "differs by position" else 1e-4
        return loss * (1 + noise), accuracy

    monkeypatch.setattr(ENGINES["stacked"], "evaluate", evaluate)
    found = surface(make("mlp"), points=13).provenance
    assert found["engine"] == "plain"
    assert (
        found["engine_refused"]["stacked"]
        == {
            "raises": "RuntimeError: no batching rule",
            "differs": "its losses differ",
            "differs by position": "its losses differ",
        }[wrong]
    )
    assert "no convolution" in found["engine_refused"]["folded"]


REGIONS = {
    "next to the middle": lambda a, b: 0 < max(abs(a), abs(b)) < 0.15,
    "a ring half-way": lambda a, b: 0.3 < max(abs(a), abs(b)) < 0.4,
    **{f"{x}, {y}": lambda a, b, x=x, y=y: x * a > 0.2 and y * b > 0.2 for x in (-1, 1) for y in (-1, 1)},
    **{f"{x} on an axis": lambda a, b, x=x: x * a > 0.2 and abs(b) < 0.1 for x in (-1, 1)},
}


@pytest.mark.parametrize("where", REGIONS)
@pytest.mark.parametrize("asked", ["auto", "stacked"])
def test_an_engine_that_is_wrong_somewhere_is_refused(monkeypatch, where, asked):
    """As one that made a constant of what should depend on the weights is, where it had seen another side of them."""
    real = ENGINES["stacked"].evaluate

    def evaluate(self, points):
        loss, accuracy = real(self, points)
        wrong = torch.tensor([REGIONS[where](*point) for point in points])
        return loss * torch.where(wrong, 1.01, 1.0), accuracy

    monkeypatch.setattr(ENGINES["stacked"], "evaluate", evaluate)
    ticks = iter(range(10_000))
    monkeypatch.setattr(engine_choice.time, "perf_counter", lambda: float(next(ticks)))  # 64 points a second: fastest
    monkeypatch.setattr(engine_choice, "_QUICK", 10.0)
    if asked == "auto":
        found = surface(make("mlp"), points=13).provenance
        assert found["engine"] == "plain" and found["engine_refused"]["stacked"] == "its losses differ"
    else:
        with pytest.raises(ModelError, match="other losses"):
            surface(make("mlp"), points=13, engine=asked)


class Turned(nn.Module):
    """Another function on each side of a plane through its weights, which the forward looks at by a way of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.conv(x))).mean((2, 3))
        return self.head(-x if float(dict(self.named_parameters())["conv.weight"].sum()) > 0 else x)


@pytest.mark.parametrize("asked", ["auto", "folded", "folded_large"])
def test_a_forward_that_depends_on_the_weights_by_a_condition(asked):
    with seeded(0, "tests", "turned"):
        model = Turned().eval()
    objective = Objective(model, (torch.randn(40, 2, 8, 8, generator=generator(0, "turned")), torch.arange(40) % 3))
    with torch.no_grad():
        model.conv.weight.sub_(model.conv.weight.mean() + 1e-4)
    if asked == "auto":
        found, plain = surface(objective, points=13), surface(objective, points=13, engine="plain")
        assert np.allclose(found.loss, plain.loss, rtol=1e-5)
        assert "reads the weights" in found.provenance["engine_refused"]["folded"]
    else:
        with pytest.raises(ModelError, match="reads the weights"):
            surface(objective, engine=asked)


def test_few_points_are_not_worth_measuring(monkeypatch):
    monkeypatch.setattr(engine_choice, "_measured", None)
    assert surface(make("conv"), points=4).provenance["engine"] == "plain"


def test_recomputed_statistics_are_not_folded():
    objective = recompute_batch_norm(make("conv"))
    assert surface(objective, points=9).provenance["engine"] == "plain"
    with pytest.raises(ModelError, match="recompute running statistics"):
        surface(objective, engine="folded")


class InPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 3, 10), nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x.mul_(2.0))).flatten(1)


def test_a_model_that_writes_into_its_inputs_gets_fresh_ones():
    inputs = torch.randn(40, 2, 10, 10, generator=generator(0, "in place"))
    objective = Objective(InPlace().eval(), (inputs, torch.arange(40) % 3))
    found = surface(objective, points=13)
    assert "in place" in found.provenance["engine_refused"]["folded"]
    assert bits(found) == bits(surface(objective, points=13))


def test_an_error_in_a_worker_reaches_the_caller_and_threads_come_back():
    objective, threads = make("mlp"), torch.get_num_threads()
    alive = threading.active_count()
    real, calls = objective.loss_fn, iter(range(10_000))

    def failing(outputs, targets):
        if threading.current_thread() is not threading.main_thread() and next(calls) > 20:
            raise ValueError("enough")
        return real(outputs, targets)

    objective.loss_fn = failing
    with pytest.raises(ValueError, match="enough"):
        surface(objective, engine="plain", workers=2)
    assert torch.get_num_threads() == threads and threading.active_count() == alive
    objective.loss_fn = real
    surface(objective, workers=3)
    assert torch.get_num_threads() == threads and threading.active_count() == alive


class Aging(nn.Linear):
    """A layer that warns whenever it is called."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        warnings.warn("this layer will be renamed", FutureWarning, stacklevel=1)
        return super().forward(inputs)


@pytest.mark.filterwarnings("ignore:this layer will be renamed")
def test_a_warning_of_the_model_is_no_reason_against_an_engine():
    model = nn.Sequential(Aging(6, 12), nn.Tanh(), nn.Linear(12, 3))
    data = torch.randn(70, 6, generator=generator(0, "tests", "aging")), torch.arange(70) % 3
    found = surface(Objective(model, data), points=13).provenance
    assert "stacked" in found["engine_seconds"]
    assert "stacked" not in found["engine_refused"]


def test_an_unknown_engine_is_named(objective):
    with pytest.raises(ConfigError, match="'stacked'"):
        surface(objective, engine="staked")


def test_the_folded_engine_never_touches_the_model(snapshot, assert_unchanged):
    model = build_model("resnet20", classes=3, input_shape=(3, 16, 16)).train()
    objective = Objective(model, (torch.randn(8, 3, 16, 16, generator=generator(0, "x")), torch.arange(8) % 3))
    before = snapshot(model)
    plane = random_plane(objective)
    engine = build_engine("folded", objective, [direction.vector for direction in plane.directions])
    loss, _ = engine.evaluate([[0.0, 0.0], [0.5, -0.5]])
    assert_unchanged(before, model)
    assert float(loss[0]) == pytest.approx(objective.evaluate().loss, rel=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("engine", list(ENGINES))
def test_engines_agree_on_cuda(engine):
    there = Objective(make("conv").model, (make("conv")._data.inputs, make("conv").targets), device="cuda")
    plain = surface(make("conv"), engine="plain")
    assert np.abs(surface(there, engine=engine).loss - plain.loss).max() <= 1e-4 * np.ptp(plain.loss)


def test_what_the_caller_casts_is_cast_in_every_worker():
    """The center is computed by the caller's thread: without autocast in the others it would stand apart."""
    objective = make("conv")
    with torch.autocast("cpu", torch.bfloat16):
        near = surface(objective, extent=1e-6, points=3, engine="plain", workers=2)
    assert np.ptp(near.loss) < 1e-4 and abs(near.center_loss - surface(objective).center_loss) > 1e-6


class Viewing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.last = nn.Conv2d(2, 8, 3), nn.BatchNorm2d(8), nn.Linear(512, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.conv(x)))
        return self.last(x.view(x.size(0), -1))


def test_a_model_for_contiguous_images_only(capfd):
    inputs = torch.randn(40, 2, 10, 10, generator=generator(0, "viewing"))
    objective = Objective(Viewing().eval(), (inputs, torch.arange(40) % 3))
    plain, found = surface(objective, engine="plain"), surface(objective, engine="folded")
    assert np.abs(found.loss - plain.loss).max() <= 1e-5 * np.ptp(plain.loss)
    assert not surface(objective, points=13).provenance["engine_refused"]
    assert capfd.readouterr().err == ""


def test_hooks_of_the_model_are_not_lost():
    objective = make("conv")
    model = objective.model
    model.register_forward_hook(lambda module, inputs, outputs: outputs * 3.0)
    hooked = Objective(model, (objective._data.inputs, objective.targets), batch_size=32)
    with pytest.raises(ModelError, match="forward hooks"):
        surface(hooked, engine="folded")
    assert "forward hooks" in surface(hooked, points=13).provenance["engine_refused"]["folded"]


def test_an_engine_asked_for_is_checked_as_well(monkeypatch):
    real = ENGINES["folded"].evaluate
    monkeypatch.setattr(ENGINES["folded"], "evaluate", lambda self, points: (real(self, points)[0] * 1.001, 0))
    with pytest.raises(ModelError, match="gives this model other losses"):
        surface(make("conv"), engine="folded")


def test_a_store_that_fails_is_given_no_point_twice(tmp_path, monkeypatch):
    from landscape.errors import StorageError
    from landscape.surface.store import PointStore

    calls = []

    def full(self, indices, loss, accuracy):
        calls.append(list(indices))
        raise StorageError("The disk is full.")

    monkeypatch.setattr(PointStore, "append", full)
    with pytest.raises(StorageError, match="full"):
        surface(make("mlp"), store=tmp_path)
    points = [index for block in calls for index in block]
    assert len(points) == len(set(points))


def entropy(outputs, targets):
    return -(outputs.softmax(1) * outputs.log_softmax(1)).sum(1)


@pytest.mark.parametrize("engine", HERE)
def test_every_engine_gives_the_metric_of_ones_own(engine, tmp_path):
    plain = make("conv", torch.float64)
    batches = [torch.cat(parts) for parts in zip(*plain.batches(), strict=True)]
    objective = Objective(plain.model, batches, batch_size=32, metric=entropy)
    found = surface(objective, engine=engine, store=tmp_path)
    weights, plane = objective.weights(), random_plane(objective, seed=1)
    for i, j in ((0, 0), (4, 4), (8, 3)):
        point = weights + found.alphas[i] * plane.direction1.vector + found.betas[j] * plane.direction2.vector
        outputs = objective.outputs(point)
        assert found.accuracy[i, j] == pytest.approx(float(entropy(outputs, None).mean()), rel=1e-10)
    with pytest.raises(MismatchError, match="another metric_sha256|more than this"):
        surface(plain, engine=engine, store=tmp_path)
    figure = plotting.contour(found)
    assert "entropy" in next(trace for trace in figure.data if trace.type == "contour").text[0][0]


@pytest.mark.parametrize(("engine", "sizes"), [("folded", [64, 64, 64, 64, 24, 20]), ("folded_large", [280, 20])])
def test_folded_batches_have_the_size_that_the_name_says(engine, sizes):
    small = make("conv", examples=300)
    data = [torch.cat(parts) for parts in zip(*small.batches(), strict=True)]
    objective = Objective(small.model, data, batch_size=280)
    built = build_engine(engine, objective, [torch.ones(objective.size)])
    assert [len(targets) for _, targets in built._batches] == sizes


def test_labels_that_the_loss_ignores_are_ignored_by_stacked_points_too():
    whole = make("mlp", torch.float64)
    inputs, targets = (torch.cat(parts) for parts in zip(*whole.batches(), strict=True))
    targets[::3] = -100
    with pytest.warns(ReductionWarning):
        objective = Objective(whole.model, (inputs, targets), batch_size=200)
    found, plain = surface(objective, engine="stacked"), surface(objective, engine="plain")
    np.testing.assert_allclose(found.loss, plain.loss, rtol=1e-12)


# --------------------------------------------------------------------------------------------------- CUDA graphs


def played(function, device):
    """A graph as far as a CPU has one: results in the same memory each time."""
    values = function()

    def replay():
        for value, new in zip(values, function(), strict=True):
            value.copy_(new)

    return values, replay


@pytest.mark.parametrize(("kind", "inner"), [("conv", "FoldedEngine"), ("mlp", "PlainEngine")])
def test_a_played_record_gives_every_point_its_own_value(monkeypatch, kind, inner):
    monkeypatch.setattr(graphed, "available", lambda device: True)
    monkeypatch.setattr(graphed, "capture", played)
    objective = make(kind, torch.float64)
    found, plain = surface(objective, engine="graphed"), surface(objective, engine="plain")
    np.testing.assert_allclose(found.loss, plain.loss, rtol=1e-10)
    assert np.array_equal(found.accuracy, plain.accuracy)
    assert bits(surface(objective, engine="graphed", order="rows", workers=2)) == bits(found)
    built = build_engine("graphed", objective, [torch.ones(objective.size, dtype=torch.float64)])
    assert type(built._inner).__name__ == inner


def test_graphs_need_a_device_that_has_them_and_a_model_that_can_be_recorded(monkeypatch):
    with pytest.raises(ModelError, match="CUDA graphs need a CUDA device"):
        surface(make("conv"), engine="graphed")
    assert "graphed" not in surface(make("conv"), points=13).provenance["engine_refused"]

    def fails(function, device):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(graphed, "available", lambda device: True)
    monkeypatch.setattr(graphed, "capture", fails)
    monkeypatch.setattr(engine_choice, "available", lambda device: True)
    with pytest.raises(ModelError, match="cannot be recorded.*capturing"):
        surface(make("conv"), engine="graphed")
    assert "capturing" in surface(make("conv"), points=13).provenance["engine_refused"]["graphed"]


@pytest.mark.gpu
def test_a_graph_follows_the_weights_and_is_right_in_any_order():
    objective = Objective(make("conv").model, (make("conv")._data.inputs, make("conv").targets), device="cuda")
    found = surface(objective, engine="graphed")
    assert bits(surface(objective, engine="graphed", order="rows")) == bits(found)
    with torch.no_grad():
        for parameter in objective.model.parameters():
            parameter.mul_(1.01)
    plain = surface(objective, engine="plain")
    assert np.abs(surface(objective, engine="graphed").loss - plain.loss).max() <= 1e-4 * np.ptp(plain.loss)


def test_patches_that_would_take_too_much_memory_are_not_cut(monkeypatch):
    objective = make("conv").in_batches_of(16)
    if FoldedEngine(objective, [torch.ones(objective.size)])._model._cut is None:
        pytest.skip("oneDNN's fused convolutions are not there, or the first one is none of few channels")
    monkeypatch.setattr(single, "_ROOM", 1000)
    engine = FoldedEngine(objective, [torch.ones(objective.size)])
    assert engine._model._cut is None
    torch.testing.assert_close(engine([0.0])[0].item(), objective.evaluate().loss, rtol=1e-5, atol=1e-6)
