"""The ipywidgets that controls become, and how they lie on the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from landscape.widgets.controls import Control


def widget_of(control: Control) -> Any:
    """Make the ipywidget of a control: labelled, with a tooltip, usable by keyboard.

    Args:
        control: What it sets.

    Returns:
        A SelectionSlider, Dropdown, ToggleButtons or SelectMultiple, whose ``value`` is one of the control's values.
    """
    import ipywidgets

    kinds: Mapping[str, Any] = {
        "slider": ipywidgets.SelectionSlider,
        "menu": ipywidgets.Dropdown,
        "buttons": ipywidgets.ToggleButtons,
        "many": ipywidgets.SelectMultiple,
    }
    layout: dict[str, Any] = {"margin": "2px 14px 2px 0"}
    more: dict[str, Any] = {"tooltip": control.help or control.label}
    style = {"description_width": "initial"}
    if control.kind == "slider":
        rail = 300 if len(control.options) > 6 else 260  # with the readout at its end
        layout["width"] = f"{rail + round(6.8 * len(control.label))}px"
        # Where the page is narrower than that, the rail goes below the label.
        layout |= {"max_width": "100%", "flex_flow": "row wrap", "height": "auto", "min_height": "28px"}
    elif control.kind == "menu":
        layout["width"] = "max-content"
    elif control.kind == "many":
        layout["width"], more["rows"] = "max-content", min(6, len(control.options))
    else:
        style["button_width"] = "max-content"
        more = {"tooltips": [control.help or control.label] * len(control.options)}
    return kinds[control.kind](
        options=list(control.options),
        value=control.value,
        description=control.label,
        style=style,
        layout=layout,
        **more,
    )


def arrange(controls: Mapping[str, Control], widgets: Mapping[str, Any], reset: Any) -> Any:
    """Lay out controls in rows that wrap, the button last.

    Args:
        controls: Name to control.
        widgets: Name to its ipywidget.
        reset: The button.

    Returns:
        An ipywidgets box.
    """
    import ipywidgets

    return ipywidgets.HBox(
        [*(widgets[name] for name in controls), reset],
        layout={"flex_flow": "row wrap", "align_items": "center", "margin": "4px 0"},
    )
