"""The explorers of finished and growing results: surfaces, spectra, runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from landscape.curvature.density import smooth
from landscape.curvature.results import Eigenpairs
from landscape.errors import ConfigError, MismatchError
from landscape.objective import Objective
from landscape.plotting.scale import common_scale
from landscape.surface import evaluate_surface, random_plane
from landscape.widgets import RunComparison, SpectrumExplorer, SurfaceExplorer


def _trace(figure, kind, name):
    return next(trace for trace in figure.data if (trace.type, trace.name) == (kind, name))


def alright(explorer):
    return "role='status'" in explorer.status.value


# -------------------------------------------------------------------------------------------------------- surfaces


def test_the_cut_and_the_point_are_where_they_say(results):
    explorer = SurfaceExplorer(results.surfaces)
    explorer.widget()
    surface = results.surfaces["SGD"]
    explorer.sliders["log"].value = False
    explorer.sliders["beta"].value, explorer.sliders["alpha"].value = float(surface.betas[1]), float(surface.alphas[2])
    cut = next(t for t in explorer.live_figure.data if t.type == "scatter" and t.name == "SGD")
    np.testing.assert_array_equal(cut.y, surface.loss[:, 1])
    point = [t for t in explorer.live_figure.data if t.type == "scatter" and t.name == "point"][-1]
    assert (point.x[0], point.y[0]) == (surface.alphas[2], surface.loss[2, 1])
    assert f"loss {surface.loss[2, 1]:.5g}" in explorer.status.value
    assert f"SGD from {surface.loss[:, 1].min():.3g} to" in explorer.status.value
    explorer.sliders["along"].value = "beta"
    cut = next(t for t in explorer.live_figure.data if t.type == "scatter" and t.name == "SGD")
    np.testing.assert_array_equal(cut.y, surface.loss[2])
    explorer.sliders["minimum"].value = "SAM (rho 0.1)"
    np.testing.assert_array_equal(np.array(explorer.live_figure.data[0].z).T, results.surfaces["SAM (rho 0.1)"].loss)
    assert alright(explorer)


def test_level_clip_and_scale(results):
    explorer = SurfaceExplorer(results.surfaces)
    explorer.widget()
    level, clip = (explorer.controls[name].options[1][1] for name in ("level", "clip"))
    explorer.sliders["log"].value, explorer.sliders["level"].value = False, level
    assert _trace(explorer.live_figure, "contour", "level").contours.start == level
    share = float(np.mean(results.surfaces["SGD"].loss <= level))
    assert f"At or below the level {level:g} lies this share of the plane: SGD {share:.1%}" in explorer.status.value
    explorer.sliders["clip"].value = clip
    assert explorer.live_figure.data[0].cmax == clip
    explorer.sliders["log"].value = True
    assert explorer.live_figure.data[0].cmax == pytest.approx(np.log10(clip)) and alright(explorer)


def test_a_camera_that_was_turned_stays(results):
    explorer = SurfaceExplorer(results.surfaces)
    explorer.widget()
    explorer.live_figure.layout.scene.camera.eye.x = 2.5
    explorer.sliders["minimum"].value = "SAM (rho 0.1)"
    explorer.sliders["log"].value = True
    assert explorer.live_figure.layout.scene.camera.eye.x == 2.5


@pytest.fixture
def real(tiny_problem):
    """A surface of the tiny model, with the objectives of its training and of other data."""
    objective = Objective(tiny_problem.model, tiny_problem.data)
    other = Objective(tiny_problem.model, (tiny_problem.inputs[:15], tiny_problem.targets[:15]))
    plane = random_plane(objective)
    made = {"points": 5, "progress": False}
    surfaces = [evaluate_surface(judge, plane, **made) for judge in (objective, other)]
    return objective, other, plane, surfaces


def _click(figure, trace, x, y):
    """Send what the page sends when a point of a trace is clicked."""
    points = {"trace_indexes": [list(figure.data).index(trace)], "point_indexes": [0], "xs": [x], "ys": [y]}
    figure._js2py_pointsCallback = {"event_type": "plotly_click", "points": points}


@pytest.mark.parametrize("kind", ["heatmap", "surface"])
def test_a_click_evaluates_that_point_exactly(real, tiny_problem, kind):
    objective, other, plane, (train, test) = real
    explorer = SurfaceExplorer(
        {"SGD": train}, test={"SGD": test}, objectives={"SGD": objective}, test_objectives={"SGD": other}
    )
    explorer.widget()
    before = explorer.status.value
    _click(explorer.live_figure, _trace(explorer.live_figure, "scatter", "SGD"), 0.45, -1.1)  # the cut: no place of it
    assert explorer.status.value == before
    _click(explorer.live_figure, _trace(explorer.live_figure, kind, "SGD"), 0.45, -1.1)  # the nearest: 0.5 and -1
    moved = objective.weights() + 0.5 * plane.direction1.vector - plane.direction2.vector
    expected = objective.evaluate(moved)
    assert (explorer.sliders["alpha"].value, explorer.sliders["beta"].value) == (0.5, -1.0)
    found = explorer.evaluate_point(minimum="SGD", alpha=0.5, beta=-1.0)
    assert found[0] == pytest.approx(expected.loss, rel=1e-12) and found[1] == expected.accuracy
    assert f"evaluated exactly on 40 examples {expected.loss:.5g}" in explorer.status.value
    explorer.sliders["data"].value = "test"
    assert "evaluated exactly" not in explorer.status.value
    button = explorer.above()[0]
    button.click()
    assert f"on 15 examples {other.evaluate(moved).loss:.5g}" in explorer.status.value


def test_both_splits_are_seen_on_the_scale_of_both(real):
    *_, (train, test) = real
    explorer = SurfaceExplorer({"SGD": train}, test={"SGD": test})
    for options in ({"log": True}, {"log": False}, {"log": False, "clip": explorer.controls["clip"].options[1][1]}):
        scale = common_scale([train.loss, test.loss], clip=options.get("clip"), log=options["log"])
        for data in ("train", "test"):
            fields = explorer.result(data=data, **options).fields
            assert fields.scale == scale
            np.testing.assert_array_equal(fields.fields[0].z.T, scale.drawn({"train": train, "test": test}[data].loss))


def test_a_point_needs_an_objective_and_a_plane(real, results):
    _, _, _, (train, _) = real
    with pytest.raises(ConfigError, match="nothing to evaluate a point with"):
        SurfaceExplorer({"SGD": train}).evaluate_point()
    explorer = SurfaceExplorer(results.surfaces, objectives={"SGD": real[0]})
    with pytest.raises(MismatchError, match="does not hold its plane"):
        explorer.evaluate_point()
    with pytest.raises(MismatchError, match="labels differ"):
        SurfaceExplorer(results.surfaces, test={"other": train})


def test_a_surface_grows_in_the_background_to_the_same_values(real):
    objective, _, plane, (train, _) = real
    explorer = SurfaceExplorer.growing({"SGD": objective}, plane, points=5)
    explorer.widget()
    assert "not computed yet" in explorer.status.value
    explorer.job.start()
    assert explorer.job.wait(60) and explorer.job.state == "done", explorer.job.message
    np.testing.assert_allclose(explorer.surfaces["train"]["SGD"].loss, train.loss, rtol=1e-9)
    assert f"loss {train.center_loss:.5g}" in explorer.status.value
    assert np.isfinite(np.array(explorer.live_figure.data[0].z, float)).all()


def test_a_growing_surface_can_be_cancelled_and_goes_on_from_its_store(real, tmp_path, monkeypatch):
    objective, _, plane, (train, _) = real
    explorer = SurfaceExplorer.growing({"SGD": objective}, plane, points=5, store={"SGD": tmp_path / "s"})
    take = explorer.take

    def cancels(label, surface, **_):
        take(label, surface)
        explorer.job.cancel()

    monkeypatch.setattr("landscape.surface.evaluate.Collector.run", _slowly)
    monkeypatch.setattr(explorer, "take", cancels)
    explorer.job.start()
    assert explorer.job.wait(60)
    assert explorer.job.state == "cancelled" and not explorer.surfaces["train"]["SGD"].complete
    monkeypatch.undo()
    explorer.job.run(quiet=True)
    assert explorer.surfaces["train"]["SGD"].provenance["points_resumed"] > 0
    np.testing.assert_allclose(explorer.surfaces["train"]["SGD"].loss, train.loss, rtol=1e-9)


def _slowly(self, engine, coordinates, order, *, workers, remote=None):
    """Hand out every point by itself, and tell at once."""
    for index in order:
        self._pending.append(([index], *engine.evaluate([coordinates[index]])))
        self._flush()
        self.on_block()


def test_the_spread_over_planes_and_the_top_eigenvalue_are_said(real):
    objective, _, _, (train, _) = real
    others = [evaluate_surface(objective, random_plane(objective, seed=s), points=3, progress=False) for s in (1, 2)]
    explorer = SurfaceExplorer({"SGD": train}, eigenvalues={"SGD": 12.5}, planes={"SGD": others})
    rises = [float(one.loss.mean()) - one.center_loss for one in others]
    said = explorer.words(explorer.result())
    assert f"Over 2 planes of other seeds the mean loss lies {np.mean(rises):.3g} ± {np.std(rises, ddof=1):.2g}" in said
    assert "SGD 12.5" in said and "two of 119 directions" in said and "over 40 examples" in said


def test_words_are_of_the_split_that_is_seen_whatever_the_picture_is_called(real):
    objective, other, _, (train, test) = real
    judges = {"objectives": {"SGD": objective}, "test_objectives": {"SGD": other}}
    explorer = SurfaceExplorer({"SGD": train}, test={"SGD": test}, **judges)
    explorer.evaluate_point(data="test")
    view = explorer.result(data="test")
    said = explorer.words(replace(view, title="A title of one's own"), data="test")
    assert "evaluated exactly on 15 examples" in said and "its losses are over 15 examples" in said


def test_static_surfaces_slide_over_the_cut(results):
    figure = SurfaceExplorer(results.surfaces).figure_with_frames()
    assert len(figure.frames) == len(results.surfaces["SGD"].betas)
    assert figure.layout.sliders[0].currentvalue.prefix.startswith("point β")


# --------------------------------------------------------------------------------------------------------- spectra


@pytest.fixture
def pairs():
    def made(*values):
        size = len(values)
        return Eigenpairs(
            values=np.array(values), vectors=torch.eye(4)[:, :size], residuals=np.full(size, 1e-4), matvecs=9,
            converged=np.ones(size, bool),
        )  # fmt: skip

    return made


def test_the_bandwidth_is_computed_anew_from_nodes_and_weights(results):
    explorer = SpectrumExplorer(results.spectra)
    explorer.widget()
    explorer.sliders["log"].value, explorer.sliders["width"].value = False, 0.5
    one = results.spectra["SGD"]
    curve = [trace for trace in explorer.live_figure.data if trace.name == "SGD"][1]
    expected = np.mean(
        [smooth(np.array(curve.x), n, w, 0.5 * one.sigma) for n, w in zip(one.nodes, one.weights, strict=True)], 0
    )
    np.testing.assert_allclose(curve.y, expected, rtol=1e-12)
    step = curve.x[1] - curve.x[0]
    assert np.sum(curve.y) * step == pytest.approx(1.0, abs=1e-3)
    assert "standard deviation 0.5." in explorer.live_figure.layout.title.text


def test_single_eigenvalues_layers_and_ritz_values_are_shown(results, pairs):
    layers = {"SGD": {"conv": results.spectra["SAM (rho 0.1)"]}}
    explorer = SpectrumExplorer(results.spectra, eigenpairs={"SGD": pairs(48.7, 20.0, 3.0)}, layers=layers)
    explorer.widget()
    explorer.sliders["shown"].value, explorer.sliders["top"].value = "SGD", 2
    marks = [trace for trace in explorer.live_figure.data if trace.name == "SGD"]
    assert list(marks[3].x) == [48.7, 20.0]
    assert "top eigenvalue 48.7 (residual 0.0001), number 2 20" in explorer.status.value
    assert "Ritz values from 0 to 48.6, mean" not in explorer.status.value
    explorer.sliders["rug"].value = "all"
    assert len(explorer.live_figure.data[2].x) == 4
    explorer.sliders["layer"].value = "conv"
    assert "of the layer conv" in explorer.live_figure.layout.title.text and alright(explorer)
    assert len(explorer.live_figure.data[3].x) == 0
    explorer.sliders["shown"].value = "SAM (rho 0.1)"  # which has no such layer
    assert alright(explorer)
    with pytest.raises(MismatchError, match="labels differ"):
        SpectrumExplorer(results.spectra, eigenpairs={"other": pairs(1.0)})


def test_words_are_of_the_layer_that_is_seen_whatever_the_picture_is_called(results):
    whole, layer = results.spectra["SGD"], results.spectra["SAM (rho 0.1)"]
    explorer = SpectrumExplorer({"SGD": whole}, layers={"SGD": {"conv": layer}})
    view = replace(explorer.result(layer="conv"), title="A title of one's own")
    assert f"Ritz values from {layer.nodes.min():.3g} to {layer.nodes.max():.3g}" in explorer.words(view, layer="conv")
    assert f"to {layer.nodes.max():.3g}" not in explorer.words(explorer.result())


def test_every_control_of_a_spectrum_answers(results):
    explorer = SpectrumExplorer(results.spectra)
    explorer.widget()
    for name, value in (("rug", "none"), ("log", False), ("floor", 1e-3), ("width", 10.0), ("shown", "SGD")):
        explorer.sliders[name].value = value
        assert alright(explorer)
    assert "SGD: mean eigenvalue 24.2 ± 0.17, Ritz values from 0 to 48.6" in explorer.status.value
    assert len(explorer.figure_with_frames().frames) > 5


# ------------------------------------------------------------------------------------------------------------ runs


def test_any_number_against_any_other_for_the_picked_runs(results):
    explorer = RunComparison(results.rows, x="trace", y="test_error", runs={"SGD": results.metrics["SGD"]})
    explorer.widget()
    points = {t.name: (t.x[0], t.y[0]) for t in explorer.live_figure.data if t.mode == "markers"}
    assert points["SGD"] == (1800.0, pytest.approx(11.7))
    limits = explorer.live_figure.layout.xaxis.range
    explorer.sliders["picked"].value = ("SAM",)
    assert explorer.live_figure.layout.xaxis.range == limits  # one scale for all that can be picked
    assert explorer.live_figure.data[0].x[0] is None and len(explorer.live_figure.data[2].x) == 0
    assert "SAM" in explorer.table.value and "SGD" not in explorer.table.value
    explorer.sliders["x"].value = "seconds"
    assert "SAM: time 2.00 s, test error 4.60 ± 0.20 %." in explorer.status.value
    explorer.sliders["picked"].value = ()
    assert "No run is picked" in explorer.status.value and explorer.table.value == ""
    explorer.reset()
    assert explorer.sliders["picked"].value == ("SGD", "SAM") and len(explorer.live_figure.data[2].x) == 8


def test_static_comparison_has_the_table_below(results, capsys):
    RunComparison(results.rows).show("static")
    assert "trace" in capsys.readouterr().out


def test_wrong_comparisons_are_refused(results):
    with pytest.raises(ConfigError, match="two numbers"):
        RunComparison({"a": {"test_error": 1.0}})
    with pytest.raises(MismatchError, match="other labels"):
        RunComparison(results.rows, runs={"b": []})
    with pytest.raises(ConfigError, match="takes several values"):
        RunComparison(results.rows).figure(picked="SGD")
