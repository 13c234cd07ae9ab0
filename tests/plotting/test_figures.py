"""Every figure in both backends: titles, units, legends, common scales, and true numbers."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from landscape import plotting
from landscape.errors import ConfigError, DataError
from landscape.plotting.style import METHODS, OKABE_ITO, method_of, styles

FIGURES = {
    "surface3d": lambda r, b: plotting.surface3d(r.surfaces, backend=b),
    "contour": lambda r, b: plotting.contour(r.surfaces, backend=b),
    "line": lambda r, b: plotting.line(r.lines, backend=b, accuracy=True),
    "density": lambda r, b: plotting.density(r.spectra, backend=b, rug=True),
    "profile": lambda r, b: plotting.profile(r.profiles, backend=b),
    "training_curves": lambda r, b: plotting.training_curves(r.metrics, backend=b),
    "compare": lambda r, b: plotting.compare(r.rows, backend=b),
    "relation": lambda r, b: plotting.relation(r.rows, x="trace", y="test_error", backend=b),
}
SINGLE = {
    "surface3d": lambda r, b: plotting.surface3d(r.surfaces["SGD"], backend=b),
    "contour": lambda r, b: plotting.contour(r.surfaces["SGD"], backend=b),
    "line": lambda r, b: plotting.line(r.lines["SGD"], backend=b),
    "density": lambda r, b: plotting.density(r.spectra["SGD"], backend=b),
    "profile": lambda r, b: plotting.profile(r.profiles["SGD"], backend=b),
    "training_curves": lambda r, b: plotting.training_curves(r.metrics["SGD"], backend=b),
}


@pytest.mark.parametrize("name", FIGURES)
def test_plotly_figure_has_title_axes_and_every_label(results, name):
    figure = FIGURES[name](results, "plotly")
    assert "<b>" in figure.layout.title.text
    assert figure.layout.paper_bgcolor == "rgba(0,0,0,0)"
    assert figure.layout.autosize
    if name != "surface3d":
        assert all(axis.title.text for axis in figure.select_xaxes())
    texts = {trace.name for trace in figure.data} | {a.text for a in figure.layout.annotations}
    assert {"SGD", "SAM"} <= {str(text).split(" (")[0] for text in texts}
    assert figure.to_json()


@pytest.mark.parametrize("name", FIGURES)
def test_matplotlib_figure_draws_without_pyplot_and_without_a_warning(results, name, tmp_path):
    figure = FIGURES[name](results, "matplotlib")
    figure.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    assert figure.texts[0].get_text()
    if "matplotlib.pyplot" in sys.modules:
        assert not sys.modules["matplotlib.pyplot"].get_fignums()


@pytest.mark.parametrize("backend", ["plotly", "matplotlib"])
@pytest.mark.parametrize("name", SINGLE)
def test_one_result_is_drawn_as_well_as_a_mapping(results, name, backend):
    figure = SINGLE[name](results, backend)
    assert figure.layout.title.text if backend == "plotly" else figure.texts[0].get_text()


def test_no_text_is_cut_or_overlaps_another(results):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = plotting.training_curves(results.metrics, backend="matplotlib")
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()
    boxes = [text.get_window_extent(renderer) for text in figure.texts if text.get_text()]
    boxes += [axes.get_tightbbox(renderer) for axes in figure.axes]
    width, height = figure.bbox.width, figure.bbox.height
    assert all(box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width + 1 and box.y1 <= height + 1 for box in boxes)
    overlaps = [(a, b) for i, a in enumerate(boxes) for b in boxes[i + 1 :] if a.overlaps(b)]
    assert not overlaps


def test_surfaces_share_one_color_scale_one_plane_and_the_z_of_plotly_is_the_transposed_log(results):
    figure = plotting.contour(results.surfaces)
    maps = [trace for trace in figure.data if trace.type == "contour"]
    assert {trace.coloraxis for trace in maps} == {"coloraxis"}
    every = np.concatenate([np.log10(one.loss).ravel() for one in results.surfaces.values()])
    assert figure.layout.coloraxis.cmin == pytest.approx(every.min())
    assert figure.layout.coloraxis.cmax == pytest.approx(every.max())
    np.testing.assert_array_equal(maps[0].z, np.log10(results.surfaces["SGD"].loss).T)
    assert {tuple(axis.range) for axis in figure.select_xaxes()} == {(-1.0, 1.0)}
    assert all(axis.scaleanchor for axis in figure.select_yaxes())


def test_heights_and_camera_are_common_in_three_dimensions(results):
    figure = plotting.surface3d(results.surfaces)
    scenes = list(figure.select_scenes())
    assert len({tuple(scene.zaxis.range) for scene in scenes}) == 1
    assert {scene.aspectmode for scene in scenes} == {"cube"}


def test_ticks_of_a_log_scale_say_the_loss_not_its_logarithm(results):
    bar = plotting.contour(results.surfaces).layout.coloraxis.colorbar
    assert [10**value for value in bar.tickvals] == pytest.approx([float(text) for text in bar.ticktext])
    assert "log scale" in bar.title.text


def _damaged(surface):
    loss, status = surface.loss.copy(), surface.status.copy()
    loss[0, 0], loss[0, 1], loss[1, :2] = np.nan, np.inf, np.nan
    status[0, :2], status[1, :2] = 2, 0
    return replace(surface, loss=loss, status=status)


LOSS_LABELS = {
    "surface3d": lambda r: plotting.surface3d(r.surfaces).layout.coloraxis.colorbar.title.text,
    "contour": lambda r: plotting.contour(r.surfaces).layout.coloraxis.colorbar.title.text,
    "line": lambda r: plotting.line(r.lines).layout.yaxis.title.text,
    "line panels": lambda r: plotting.line_panels({"one": r.lines}).layout.yaxis.title.text,
    "profile": lambda r: plotting.profile(r.profiles).layout.yaxis.title.text,
    "surface3d in matplotlib": lambda r: plotting.surface3d(r.surfaces, backend="matplotlib").axes[-1].get_ylabel(),
    "contour in matplotlib": lambda r: plotting.contour(r.surfaces, backend="matplotlib").axes[-1].get_ylabel(),
}


@pytest.mark.parametrize("name", LOSS_LABELS)
@pytest.mark.parametrize(
    ("losses", "label"),
    [
        (("cross_entropy", "CrossEntropyLoss"), "loss (cross-entropy, nats)"),
        (("mse_loss", "mse_loss"), "loss (mse_loss)"),
        (("mse_loss", "cross_entropy"), "loss"),
        (("<lambda>", "<lambda>"), "loss"),
        (("partial", "partial"), "loss"),
        ((None, None), "loss"),
    ],
)
def test_the_loss_axis_names_the_loss_that_was_measured(results, name, losses, label):
    for many in (results.surfaces, results.lines, results.profiles):
        for key, loss in zip(list(many), losses, strict=True):
            many[key] = replace(many[key], provenance={"loss": loss} if loss else {})
    assert " ".join(LOSS_LABELS[name](results).replace("<br>", " ").split()).removesuffix(", log scale") == label


def test_a_profile_measured_on_other_data_names_that_loss(results):
    measured = {"loss": "cross_entropy", "evaluated_on": {"loss": "mse_loss"}}
    figure = plotting.profile(replace(results.profiles["SGD"], provenance=measured))
    assert figure.layout.yaxis.title.text.startswith("loss (mse_loss)")


def test_gaps_are_left_open_hatched_and_counted(results):
    figure = plotting.contour(_damaged(results.surfaces["SGD"]))
    heat = next(trace for trace in figure.data if trace.type == "heatmap")
    assert np.isnan(heat.z).sum() == 4
    hatched = next(trace for trace in figure.data if trace.name == "no value (gap)")
    assert hatched.fillpattern.shape == "/"
    assert sum(x is None for x in hatched.x) == 4
    assert "2 points without a finite loss" in figure.layout.meta["description"]
    assert "2 points not computed yet" in figure.layout.meta["description"]


@pytest.mark.parametrize("draw", [plotting.surface3d, plotting.contour])
def test_gaps_draw_in_matplotlib_too(results, draw, tmp_path):
    draw(_damaged(results.surfaces["SGD"]), backend="matplotlib").savefig(tmp_path / "a.png")


@pytest.mark.parametrize("backend", ["plotly", "matplotlib"])
@pytest.mark.parametrize("draw", [plotting.surface3d, plotting.contour])
def test_a_surface_without_any_finite_value_still_draws(results, draw, backend):
    surface = results.surfaces["SGD"]
    empty = replace(surface, loss=np.full(surface.loss.shape, np.nan), status=np.zeros_like(surface.status))
    assert draw(empty, backend=backend) is not None


def test_clipping_is_counted_and_said(results):
    surface = results.surfaces["SGD"]
    figure = plotting.contour(surface, log=False, clip=3.0)
    above = int((surface.loss > 3).sum())
    assert f"{above} points with a loss above 3 drawn at 3" in figure.layout.meta["description"]
    assert max(np.max(trace.z) for trace in figure.data if trace.type == "contour") == 3.0


def test_center_is_marked_and_named(results):
    for figure in (plotting.contour(results.surfaces["SGD"]), plotting.surface3d(results.surfaces["SGD"])):
        marks = [trace for trace in figure.data if trace.name == "trained weights (α = β = 0)"]
        assert len(marks) == 1
        assert (marks[0].x[0], marks[0].y[0]) == (0.0, 0.0)


def test_the_center_stands_out_of_the_sheet_in_three_dimensions(results):
    surface = results.surfaces["SGD"]
    figure = plotting.surface3d(surface)
    pin = next(trace for trace in figure.data if trace.name == "trained weights (α = β = 0)")
    assert pin.z[0] == pytest.approx(np.log10(surface.center_loss))  # its foot is the loss there
    assert pin.z[1] == pytest.approx(np.log10(surface.loss.max()))  # its top is above what hides the foot
    assert "lines" in pin.mode and "markers" in pin.mode


@pytest.mark.parametrize("words", [5, 40])
def test_a_title_begins_below_the_toolbar_and_is_wrapped(results, words):
    title = " ".join(["landscape"] * words)
    figure = plotting.contour(results.surfaces, title=title)
    assert figure.layout.title.pad.t >= 41  # the toolbar is 25 high, and letters reach up to 16 above it
    bold = figure.layout.title.text.split("</b>")[0].removeprefix("<b>").split("<br>")
    assert " ".join(bold) == title and max(map(len, bold)) <= 100
    usual = plotting.contour(results.surfaces, title="short")
    assert figure.layout.margin.t - usual.layout.margin.t == 23 * (len(bold) - 1)


def test_hover_says_loss_and_accuracy(results):
    contour = next(trace for trace in plotting.contour(results.surfaces["SGD"]).data if trace.type == "contour")
    surface = results.surfaces["SGD"]
    assert contour.text[2][5] == f"loss {surface.loss[5, 2]:.4g}<br>accuracy {surface.accuracy[5, 2]:.1%}"


def test_profile_starts_at_the_unperturbed_loss_and_shares_its_axis(results):
    figure = plotting.profile(results.profiles)
    curves = [trace for trace in figure.data if trace.mode == "lines+markers"]
    assert len(curves) == 6
    assert all(trace.x[0] == 0.0 and trace.y[0] == 0.05 for trace in curves)
    assert len({tuple(axis.range) for axis in figure.select_yaxes()}) == 1
    assert any("standard error" in str(trace.name) for trace in figure.data)


def test_band_is_one_standard_error_and_only_where_there_is_one(results):
    figure = plotting.profile(results.profiles["SGD"], log=False)
    bands = [trace for trace in figure.data if trace.fill == "toself"]
    assert len(bands) == 1
    profile = results.profiles["SGD"]
    assert np.nanmax(bands[0].y) == pytest.approx(profile.loss["random"][-1] + profile.stderr["random"][-1])


def test_a_lone_eigenvalue_too_light_for_a_peak_is_on_the_axis_and_marked(results):
    spectrum = results.spectra["SAM (rho 0.1)"]
    nodes = np.array([[-1.5, 0.0, 40.0], [-1.4, 0.1, 70.0]])
    weights = np.array([[0.1, 0.9, 1e-9], [0.1, 0.9, 1e-15]])  # the last one is rounding, no eigenvalue
    figure = plotting.density(replace(spectrum, nodes=nodes, weights=weights))
    marks = [trace for trace in figure.data if "Ritz" in str(trace.hovertemplate)]
    assert [list(trace.x) for trace in marks] == [[-1.5, 40.0]]
    low, high = figure.layout.xaxis.range
    assert low < -1.5 and 40 < high < 50
    assert "smallest and largest Ritz values" in figure.layout.title.text


def test_density_is_logarithmic_cut_and_explained(results):
    figure = plotting.density(results.spectra)
    axis = figure.layout.yaxis
    assert axis.type == "log"
    assert "unit of λ" in axis.title.text
    peak = max(one.density.max() for one in results.spectra.values())
    assert 10 ** axis.range[0] == pytest.approx(1e-6 * peak)
    assert "2 probes of 2 steps" in figure.layout.meta["description"]


def test_line_with_infinite_values_has_gaps_that_are_counted(results):
    loss = results.lines["SGD"].loss.copy()
    loss[-2:] = np.inf
    figure = plotting.line(replace(results.lines["SGD"], loss=loss))
    assert np.isnan(figure.data[0].y[-2:]).all()
    assert "2 points without a finite value" in figure.layout.meta["description"]


def test_errors_are_shown_in_percent(results):
    figure = plotting.training_curves(results.metrics["SGD"], show=("test_error", "train_error"))
    assert figure.data[0].y[0] == pytest.approx(50)
    assert figure.data[1].y[0] == pytest.approx(40)


def test_nan_is_a_gap_and_an_epoch_without_a_measurement_is_left_out():
    rows = [{"epoch": 1, "test_error": float("nan")}, {"epoch": 2}, {"epoch": 3, "test_error": 0.1}]
    figure = plotting.training_curves(rows, show=["test_error"])
    np.testing.assert_array_equal(figure.data[0].x, [1, 3])
    np.testing.assert_array_equal(figure.data[0].y, [np.nan, 10.0])
    assert "1 point without a finite value" in figure.layout.meta["description"]


def test_curves_stand_where_their_cost_is():
    rows = [{"epoch": 1, "gradients": 2.0, "time": 0.5, "train_loss": 1.0}, {"epoch": 2, "gradients": 4.0, "time": 1.5}]
    rows[1]["train_loss"] = 0.5
    for across, places in (("epoch", [1, 2]), ("gradients", [2, 4]), ("time", [0.5, 1.5])):
        figure = plotting.training_curves(rows, show=["train_loss"], across=across)
        np.testing.assert_array_equal(figure.data[0].x, places)
        assert across in figure.layout.xaxis.title.text
    with pytest.raises(DataError, match=r"do not hold 'time'.*with_cost\(run\)"):
        plotting.training_curves([{"epoch": 1, "train_loss": 1.0}], show=["train_loss"], across="time")
    with pytest.raises(ConfigError, match="axis 'gradient'.*Did you mean 'gradients'"):
        plotting.training_curves(rows, across="gradient")


def test_a_method_has_one_color_everywhere_and_differs_in_dash_and_marker():
    few, many = styles(["SAM rho=0.1"]), styles(["SGD", "mine", "SAM rho=0.1", "SAM rho=0.3", "LPF-SGD"])
    assert few["SAM rho=0.1"].color == many["SAM rho=0.1"].color == many["SAM rho=0.3"].color == METHODS["sam"].color
    assert many["SAM rho=0.1"].dash != many["SAM rho=0.3"].dash
    assert many["mine"].color in OKABE_ITO
    assert many["mine"].color not in {many[name].color for name in many if name != "mine"}
    assert len({style.dash for style in list(METHODS.values())[:6]}) == 6
    assert [method_of(n) for n in ("ASAM 2", "AMP (ε = 0.05)", "lpf", "sample")] == ["asam", "amp", "lpfsgd", None]


@pytest.mark.parametrize("name", FIGURES)
def test_unknown_backend_is_refused(results, name):
    with pytest.raises(ConfigError, match="plotting backend 'plotli'.*Did you mean 'plotly'"):
        FIGURES[name](results, "plotli")


def test_nothing_to_draw_is_refused():
    with pytest.raises(DataError, match="nothing to draw"):
        plotting.contour({})
    with pytest.raises(ConfigError, match="metric 'test_eror'"):
        plotting.training_curves([{}], show=["test_eror"])
    with pytest.raises(ConfigError, match="floor"):
        plotting.density({}, floor=0)


ROWS_OF = {
    plotting.ratios: "no ratios to draw. Expected: row -> ratios, or panel",
    plotting.correlations: "no correlations to draw. Expected: row -> rank correlation, or panel",
    plotting.differences: "no differences to draw. Expected: row -> differences",
    plotting.layers: "nothing to draw. Expected: layer -> answer, or question",
    plotting.sharpness: "nothing to draw. Expected: measure -> estimate, or label",
}


@pytest.mark.parametrize("draw", ROWS_OF)
@pytest.mark.parametrize(("given", "got"), [({}, "an empty mapping"), (None, "NoneType"), ([1.0], "list")])
def test_what_holds_no_rows_is_refused_with_what_was_expected(draw, given, got):
    with pytest.raises(DataError) as refused:
        draw(given)
    assert ROWS_OF[draw] in str(refused.value) and f"Got: {got}. What to do: Use " in str(refused.value)


@pytest.mark.parametrize("draw", [plotting.ratios, plotting.correlations])
def test_one_panel_without_rows_is_refused(draw):
    with pytest.raises(DataError, match="Got: an empty mapping"):
        draw({"empty": {}})


@pytest.mark.parametrize(
    ("draw", "given", "fix"),
    [
        (plotting.contour, "spectra", r"a Surface.*Got: SpectralDensity.*plotting\.density draws a SpectralDensity"),
        (plotting.surface3d, "lines", r"plotting\.line draws a Line"),
        (plotting.line, "surfaces", r"plotting\.contour or plotting\.surface3d draws a Surface"),
        (plotting.density, "profiles", r"plotting\.profile draws a Profile"),
        (plotting.profile, "rows", r"a Profile.*Pass a Profile"),
        (plotting.training_curves, "surfaces", r"training_curves\(run\.metrics\(\)\)"),
    ],
)
def test_another_kind_of_result_is_refused_and_its_own_figure_is_named(results, draw, given, fix):
    many = getattr(results, given)
    with pytest.raises(DataError, match=fix):
        draw(many)
    with pytest.raises(DataError, match=fix):
        draw(many["SGD"] if given != "rows" else [many])


def test_clip_must_fit_the_scale(results):
    with pytest.raises(ConfigError, match="log scale needs a positive clip"):
        plotting.contour(results.surfaces, log=True, clip=0.0)
    with pytest.raises(ConfigError, match="not finite"):
        plotting.contour(results.surfaces, clip=float("nan"))


def test_figures_do_not_change_the_result(results):
    surface = results.surfaces["SGD"]
    before = surface.loss.copy()
    plotting.contour(surface, clip=1.0)
    np.testing.assert_array_equal(surface.loss, before)


def test_import_loads_no_plotting_library():
    code = (
        "import sys, landscape.plotting, landscape.widgets, landscape.notebooks; "
        "print([m for m in ('plotly', 'matplotlib', 'ipywidgets', 'IPython', 'papermill') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
