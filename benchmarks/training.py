"""How fast a run trains, beside the loop that people write: torchvision's dataset, a DataLoader, PIL, the same SGD.

Whole epochs, interleaved, without the tests after them. Bars: on ResNet-20 and 5,000 CIFAR-10 images with random crops
and flips, which arithmetic bounds, at least 1.2 times the images a second; on the digits, which overhead bounds, at
least 3 times; SAM and AMP with one ascent step at most 2.1 times the time of SGD, LPF-SGD with M = 8 at most 1.35,
in batches of 256. In batches of 128 it is reported beside that: there its eight parts have 16 images each, whose passes
alone take 1.4 times as long as one of all (Intel Xeon, 2 cores, measured without any optimizer).

Everything runs with the threads that torch has by default, as people run it: OMP_WAIT_POLICY=PASSIVE, which helps where
a machine is shared, makes both loops slower and changes the ratios.

CIFAR-10 is read from a folder of images (``--data-root``, with ``cifar10-images/train/<class>/``); without one it is
replaced by random images of its size, which take as long.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.common import environment, interleaved, save
from landscape.datasets import Dataset, load_dataset
from landscape.seeding import generator, seeded
from landscape.training import Run, RunConfig
from landscape.training.interrupts import Interrupts
from landscape.training.loop import Trainer
from landscape.training.run import build_run_model, resolve_device

BARS = {"resnet20": 1.2, "smallcnn": 3.0}
LPF_BATCH = 256
PASSES = {"sam": 2.1, "amp": 2.1, "lpfsgd": 1.35}
METHODS: dict[str, dict[str, Any]] = {
    "sam": {"rho": 0.05},
    "amp": {"epsilon": 0.01},
    "lpfsgd": {"std": 5e-4, "M": 8},
}


class Pictures(torch.utils.data.Dataset):
    """uint8 images in memory, handed out one by one through PIL: what torchvision's CIFAR10 class does."""

    def __init__(self, data: Dataset, transform: Callable[[Any], torch.Tensor]) -> None:
        self.images = data.inputs.permute(0, 2, 3, 1).contiguous().numpy()
        self.targets = data.targets.tolist()
        self.transform = transform

    def __len__(self) -> int:
        """The number of images."""
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """Return one image and its class."""
        from PIL import Image

        image = np.squeeze(self.images[index], -1) if self.images.shape[-1] == 1 else self.images[index]
        return self.transform(Image.fromarray(image)), self.targets[index]


class PlainLoop:
    """The loop of the tutorials, with two workers."""

    def __init__(self, config: RunConfig, data: Dataset, device: torch.device) -> None:
        from torchvision import transforms

        steps: list[Any] = []
        if config.crop_padding:
            steps.append(transforms.RandomCrop(data.input_shape[-1], padding=config.crop_padding))
        if config.flip:
            steps.append(transforms.RandomHorizontalFlip())
        steps += [transforms.ToTensor(), transforms.Normalize(data.mean, data.std)]
        self.device, self.size = device, len(data)
        self.loader = torch.utils.data.DataLoader(
            Pictures(data, transforms.Compose(steps)),
            batch_size=config.batch_size,
            shuffle=True,
            num_workers=2,
            pin_memory=device.type == "cuda",
        )
        self.model = build_run_model(config, data).to(device).train()
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay
        )

    def epoch(self) -> float:
        """Train one epoch and return its seconds."""
        begun = time.perf_counter()
        running = 0.0
        for inputs, targets in self.loader:
            inputs, targets = inputs.to(self.device), targets.to(self.device)
            self.optimizer.zero_grad()
            loss = F.cross_entropy(self.model(inputs), targets)
            loss.backward()
            self.optimizer.step()
            running += loss.item()
        return time.perf_counter() - begun


class OurLoop:
    """The loop of :func:`landscape.train`, epoch by epoch."""

    def __init__(self, config: RunConfig, data: Dataset, device: torch.device, root: Path) -> None:
        run = Run(root / config.folder_name, config)
        (run.path / "checkpoints").mkdir(parents=True)
        self.trainer = Trainer(run, build_run_model(config, data), data, data, device)
        self.recorded = self.trainer.passes.record(self.trainer._first_batch)  # in words

    def epoch(self) -> float:
        """Train one epoch and return its seconds."""
        if self.trainer.device.type == "cuda":
            torch.cuda.synchronize()
        begun = time.perf_counter()
        self.trainer._epoch(Interrupts(), False, None)
        self.trainer.sums.tolist()  # waits for the device
        self.trainer.epoch, self.trainer.batch = self.trainer.epoch + 1, 0
        return time.perf_counter() - begun


def cifar(root: Path | None, examples: int) -> Dataset:
    """Return so many training images of CIFAR-10, or random ones of their size where there are no files."""
    if root is not None:
        return load_dataset(f"folder:{root / 'cifar10-images'}", limit=examples)
    print("  no --data-root: random images of CIFAR-10's size")
    stream = generator(0, "pictures")
    return Dataset(
        name="random",
        inputs=torch.randint(256, (examples, 3, 32, 32), generator=stream, dtype=torch.uint8),
        targets=torch.randint(10, (examples,), generator=stream),
        classes=10,
        mean=(0.49, 0.48, 0.45),
        std=(0.25, 0.24, 0.26),
    )


def compare(
    config: RunConfig, data: Dataset, rounds: int, methods: Sequence[str], *, plain: bool = True
) -> dict[str, Any]:
    """Time an epoch of the plain loop, of ours, and of ours with each method, interleaved."""
    device = resolve_device(config.device)
    with tempfile.TemporaryDirectory() as folder, seeded(0, "benchmark"):
        contenders = {"plain": PlainLoop(config, data, device).epoch} if plain else {}
        contenders["sgd"] = OurLoop(config, data, device, Path(folder)).epoch
        for name in methods:
            changed = config.replace(optimizer=name, **METHODS[name])
            contenders[name] = OurLoop(changed, data, device, Path(folder)).epoch
        seconds = interleaved(contenders, rounds)

    def median_ratio(above: str, below: str) -> float:
        return statistics.median(a / b for a, b in zip(seconds[above], seconds[below], strict=True))

    found: dict[str, Any] = {
        "images_per_second": {name: len(data) / statistics.median(its) for name, its in seconds.items()},
        "times_sgd": {name: median_ratio(name, "sgd") for name in methods},
        "batch_size": config.batch_size,
        "rounds": rounds,
        "seconds": seconds,
    }
    what = f"{config.model}, batches of {config.batch_size}"
    if plain:
        found["times_plain"] = median_ratio("plain", "sgd")
        print(
            f"  {what}: {found['images_per_second']['sgd']:.0f} images/s, plain loop "
            f"{found['images_per_second']['plain']:.0f}: {found['times_plain']:.2f} times (bar {BARS[config.model]})"
        )
    for name in methods:
        bar = f"bar {PASSES[name]}" if judged(name, config) else "no bar"
        print(f"  {what}: {name} takes {found['times_sgd'][name]:.2f} times SGD's time ({bar})")
    return found


def judged(method: str, config: RunConfig) -> bool:
    """Whether a method's bar is for batches of this size."""
    return (method == "lpfsgd") == (config.batch_size == LPF_BATCH)


def main(argv: Sequence[str] = ()) -> int:
    """Measure, print and write the result.

    Args:
        argv: ``--rounds N``, ``--examples N``, ``--data-root PATH`` (default: the variable LANDSCAPE_DATA),
            ``--no-save``.

    Returns:
        0 where all bars hold, else 1.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--examples", type=int, default=5000)
    parser.add_argument("--data-root", type=Path, default=os.environ.get("LANDSCAPE_DATA"))
    parser.add_argument("--no-save", action="store_true")
    options = parser.parse_args(list(argv))
    root = None if options.data_root is None else Path(options.data_root)
    common = {"lr": 0.05, "device": "cpu", "schedule": "constant"}
    digits = RunConfig(dataset="digits", model="smallcnn", batch_size=64, **common)
    # the batch of the published CIFAR-10 settings of SAM, AMP and LPF-SGD
    large = RunConfig(
        dataset="folder:cifar10-images", model="resnet20", batch_size=128, crop_padding=4, flip=True, **common
    )
    images = cifar(root, options.examples)
    parts = large.replace(batch_size=LPF_BATCH)
    found = {
        "smallcnn": compare(digits, load_dataset("digits"), 5 * options.rounds, ()),
        "resnet20": compare(large, images, options.rounds, tuple(METHODS)),
        "resnet20, LPF-SGD": compare(parts, images, options.rounds, ("lpfsgd",), plain=False),
    }
    missed = [name for name, bar in BARS.items() if found[name]["times_plain"] < bar]
    judges = {name: "resnet20, LPF-SGD" if name == "lpfsgd" else "resnet20" for name in PASSES}
    missed += [name for name, bar in PASSES.items() if found[judges[name]]["times_sgd"][name] > bar]
    if not options.no_save:
        result = {
            "benchmark": "training",
            "what": "an epoch's time, without tests: plain loop / ours with SGD, and each method / SGD",
            "bars": {"times the plain loop, at least": BARS, "times SGD, at most": PASSES},
            "results": found,
            **environment("torchvision"),
        }
        save("training", result)
    print(f"  outside their bar: {', '.join(missed) or 'none'}")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
