"""The command that attacks the inputs of a run's network."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from landscape.cli_analysis import described, short_hash, write_page
from landscape.cli_mistakes import one_run
from landscape.cli_options import Words

if TYPE_CHECKING:
    from landscape.datasets import Dataset
    from landscape.robustness import RobustAccuracy
    from landscape.training.run import Run

_RADII = {"l2": (0.1, 0.5, 1.0, 1.5), "linf": (1 / 255, 2 / 255, 5 / 255, 8 / 255)}
"""Bietti et al. 2019, whose code evaluates at these."""
_USUAL = ("pgd-l2",)
_BOXES = (0.01, 0.02, 0.05, 0.1)
"""L-infinity radii for inputs that are no images, of the order of those."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RobustnessCommand:
    """Attack a run's network through its inputs: what is left of its accuracy, with 95 % intervals, and a picture."""

    run_folder: tyro.conf.Positional[Path]
    """The run's folder, as printed by `landscape train`."""
    attack: Words = ()
    """One or several of the attacks listed above. pgd-l2 by default."""
    epsilon: Words = ()
    """One or several radii where pixels run from 0 to 1, as 0.5 or 8/255. 0.1, 0.5, 1 and 1.5 for L2 and
    1, 2, 5 and 8/255 for L-infinity by default; for inputs that are no images in their own units, 0.01, 0.02, 0.05 and
    0.1 for L-infinity."""
    steps: int | None = None
    """Steps of an attack; the attack's own number by default."""
    step_size: str | None = None
    """Their length, as 0.5 or 2/255; 2.5 epsilon / steps by default."""
    starts: int | None = None
    """Random starts, or draws of noise."""
    loss: Literal["cross_entropy", "margin", "dlr"] = "cross_entropy"
    """What an attack climbs."""
    seed: int = 0
    """Seed of the random starts."""
    split: Literal["train", "test"] = "test"
    """Which data."""
    limit: int | None = None
    """Use so many examples; all by default."""
    html: Path | None = None
    """Where to write the picture; beside the arrays by default."""
    quiet: bool = False
    """No progress bar."""

    def run(self) -> int:
        """Attack, print, save, draw."""
        from landscape.errors import unknown_name
        from landscape.plotting import robustness
        from landscape.robustness import ATTACKS
        from landscape.storage import require_writable
        from landscape.training.divergence import diverged_at_the_end
        from landscape.training.run import Run

        for name in self.attack:
            if name not in ATTACKS:
                raise unknown_name("attack", name, ATTACKS)
        radii = tuple(_number("epsilon", text) for text in self.epsilon)
        step_size = None if self.step_size is None else _number("step-size", self.step_size)
        if self.html is not None:
            require_writable(self.html)
        run = Run.load(one_run(self.run_folder))
        require_writable(run.path / "robustness" / f"{(self.attack or _USUAL)[0]}.npz")
        data = run.dataset(self.split, self.limit)
        found = self._attack(run, data, radii, step_size)
        for norm in ("l2", "linf"):
            self._print_together(norm, found)
        title = described(run, len(data), self.split, self.limit)
        if run.status != "finished":
            print(f"note           the run is {run.status}: these are the weights of its last checkpoint")
        elif (diverged := diverged_at_the_end(run.metrics(), run.config)) is not None:
            print(f"note           {diverged}")
        provenance = next(iter(found.values())).provenance
        asked = [{**one.settings, "e": one.epsilons.tolist()} for one in found.values()]
        name = short_hash({"attacks": asked, **provenance})
        page = self.html or run.path / "robustness" / f"{name}.html"
        figure = robustness(found, title=f"Accuracy under attack: {title}")
        print(f"picture        {write_page(f'Robustness of {title}', [figure], page)}")
        complete = all(one.complete for one in found.values())
        if not complete:
            print("interrupted    these are the examples that were done")
        return 0 if complete else 130

    def _attack(
        self, run: Run, data: Dataset, radii: tuple[float, ...], step_size: float | None
    ) -> dict[str, RobustAccuracy]:
        """Run each attack; print and save what it found."""
        import torch

        from landscape.robustness import ATTACKS, robust_accuracy
        from landscape.training.materials import resolve_device

        model = run.model().to(resolve_device(run.config.device))
        found: dict[str, RobustAccuracy] = {}
        asked = dict.fromkeys(self.attack or _USUAL)
        usual = _RADII if data.inputs.dtype == torch.uint8 else {**_RADII, "linf": _BOXES}
        several = len(asked) > 1  # what one of several does not read is meant for the others
        for name in asked:
            reads = ATTACKS[name].reads
            one = robust_accuracy(
                model,
                data,
                attack=name,
                epsilon=(0.0, *(radii or usual[ATTACKS[name].norm])),
                steps=self.steps if "steps" in reads or not several else None,
                step_size=step_size if "step_size" in reads or not several else None,
                starts=self.starts if "starts" in reads or not several else None,
                loss=self.loss,
                seed=self.seed,
                progress=not self.quiet,
            )
            key = {**one.settings, **one.provenance, "e": one.epsilons.tolist()}
            path = run.path / "robustness" / f"{name}-{short_hash(key)}.npz"
            found[name] = one
            _print(name, one)  # first, in case that it cannot be saved
            if one.complete:
                one.save(path)
            print(f"saved          {path}" if one.complete else "saved          nothing: it was interrupted")
            if not one.complete:
                break
        return found

    def _print_together(self, norm: str, found: dict[str, RobustAccuracy]) -> None:
        """Print what several attacks of one norm leave together."""
        from landscape.robustness import worst_case

        several = [one for one in found.values() if one.norm == norm and one.complete]
        if len(several) > 1:
            _print(f"all {len(several)}, {norm}", worst_case(several))


def with_attacks_listed() -> Any:
    """Return the command, whose help says what each attack is and where it comes from."""
    from landscape.robustness import ATTACKS

    def build(flags: Annotated[RobustnessCommand, tyro.conf.arg(name="")]) -> RobustnessCommand:
        return flags

    listed = [
        f"{name}: {attack.definition}." + f" {attack.reference}." * bool(attack.reference)
        for name, attack in ATTACKS.items()
    ]
    units = "in units of pixels from 0 to 1, or of inputs that are no images"
    head = f"The attacks, {units}; g is the gradient of the loss by the input:"
    build.__doc__ = "\n\n".join([RobustnessCommand.__doc__ or "", head, *listed])
    return build


def _print(name: str, found: RobustAccuracy) -> None:
    """Print a line for each radius."""
    from landscape.plotting.robustness import short_radius

    for radius, share, (low, high) in zip(found.epsilons, found.accuracy, found.interval, strict=True):
        what = "unchanged" if radius == 0 else f"within {short_radius(radius, found.norm, found.images)}"
        print(f"{name:<14} {what:<16} {100 * share:6.2f} % right   95 %: {100 * low:.2f} to {100 * high:.2f}")


def _number(flag: str, text: str) -> float:
    """Read 0.5 or 8/255."""
    from landscape.errors import ConfigError
    from landscape.robustness.settings import LONGEST

    above, slash, below = text.partition("/")
    try:
        value = float(above) / (float(below) if slash else 1.0)
    except (ValueError, ZeroDivisionError):
        value = math.nan
    if not 0 <= value <= LONGEST:
        expected, fix = f"a number from 0 to {LONGEST:g}, as 0.5 or 8/255", f"For example --{flag} 8/255."
        if "," in text and flag == "epsilon":
            fix = "Several radii stand apart, for example --epsilon 0.5 8/255."
        raise ConfigError(f"--{flag} is not understood.", expected=expected, got=text, fix=fix)
    return value
