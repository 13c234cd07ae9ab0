"""What a training run is: every setting that can change its result."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from landscape.config import Config
from landscape.optim.registry import OPTIMIZERS
from landscape.training.penalty_settings import check_penalties
from landscape.training.run_config_checks import (
    METHOD_FIELDS,
    NAME_LENGTH,
    check_names,
    check_optimizer,
    check_ranges,
    check_schedule,
)


@dataclass(frozen=True, kw_only=True)
class RunConfig(Config):
    """The settings of one training run. Equal settings give equal weights, bit for bit, on one machine.

    Attributes:
        dataset: A name of section "Datasets" in the README, folder:PATH, or synthetic:CxHxW:K.
        limit: Train on a class-balanced subset of this many examples; None takes all.
        test_limit: The same for the test split.
        validation: Fraction of the training examples that are held out and tested instead of the test split, to choose
            settings by; 0 trains on all and tests on the test split.
        validation_examples: Test on this many training examples beside those that limit takes, to choose settings by
            without training on fewer; 0 tests on the test split.
        image_size: Side in pixels to which images are resized, with antialiasing; None takes them as they are.
        label_noise: Fraction of training labels that are redrawn, 0 to 1.
        noise_kind: "uniform" redraws from all classes, the true one included; "uniform-other" from the others.
        data_seed: Seed of the subset and of the label noise; separate from seed, so that runs share their data.
        model: A name of build_model, such as mlp, smallcnn, cnn1d, resnet18, wrn28-10; torchvision:NAME, or
            MODULE:FUNCTION for your own.
        model_options: Options of the model, for example {"hidden": [64]}.
        optimizer: sgd, adam, adamw, sam, asam, amp, lpfsgd, gsam, gnp, fsam, vasso, looksam, smoothout, nso, or
            entropysgd.
        optimizer_options: Options of the optimizer that have no setting here, for example {"alpha": 0.4} of gsam.
        when: Which steps perturb: "always" (default), "late:FRACTION", "every:K" or "bernoulli:P".
        base: The optimizer below all but sgd, adam and adamw, which is one of these three; None is sgd.
        lr: Learning rate at its highest.
        momentum: Momentum of SGD.
        nesterov: Nesterov momentum.
        weight_decay: L2 decay of the base optimizer.
        rho: Radius of asam (default 0.5), and of sam and its other relatives (default 0.05).
        adaptive: The form of sam: false, true, or "official".
        epsilon: Radius of amp's ball (default 0.5); with another optimizer that of the penalties that read one, where
            pixels run from 0 to 1.
        inner_lr: Ascent step of amp (default 1).
        inner_iter: Ascent steps of amp (default 1).
        ball: amp's ball: "tensor" (default) or "global".
        std: Noise level of lpfsgd (default 5e-4) and nso (default 0.01).
        M: Parts into which lpfsgd splits a batch, each with its own noise (default 1).
        inc: Final multiple of lpfsgd's std (default 1).
        epochs: Passes over the training data.
        batch_size: Examples per step.
        schedule: Learning rate over the run: "cosine" to 0, "constant", "multistep", "onecycle" (up, then down to
            almost 0), or "plateau" (a drop where the training loss no longer falls).
        milestones: For multistep: the epochs at which the rate drops.
        gamma: For multistep and plateau: the factor of each drop.
        patience: For plateau: how many epochs in a row may bring no better training loss before the rate drops.
        warmup_epochs: The rate rises in proportion to the step over so many epochs at the start; 0 for none.
        stop_at_loss: End the run after the first epoch whose mean training loss is below this; None never does.
        clip_norm: Clip the gradient of each step, averaged and unscaled, to this norm; None does not.
        label_smoothing: Of the training loss, 0 to 1.
        flooding: The level b, in nats, below which the training loss is pushed up again: |loss - b| + b; None for none.
            The loss is that of what is passed at once: each part with M parts, each process's share with nproc.
        mixup: Train on mixtures of two examples with shares drawn from Beta(mixup, mixup), one a batch; 0 for none.
        adversarial_epsilon: Train on inputs moved against the loss, each pixel by up to this much, where pixels run
            from 0 to 1; 0 for none.
        adversarial_steps: Ascent steps of these moves: 1 is FGSM, more are PGD.
        random_perturbation: Take each gradient at weights moved by this length (L2, all weights together) in a random
            direction; 0 for none.
        penalty: What is added to the loss, moves the inputs, or constrains the weights, by name: adversarial, gradient,
            grad-l2, grad-l1, vat, trades, pgd-l2, pgd-linf, spectral, spectral-svd, spectral-projection, deformation,
            tangent. All go together, but for two ways to move the inputs.
        penalty_options: Their options, for example {"weight": 0.1, "spectral-projection.tau": 0.8}: an option of one
            of them, or of all that read it.
        crop_padding: Random crops after padding by this many pixels; 0 for none.
        crop_fill: What the padding holds, from 0 (black) to 1 (white); AMP's authors pad with gray, 128/255.
        flip: Random horizontal flips: false, true, or "alternating" (each image mirrored every other epoch).
        cutout: Side of a random square set to the mean, in pixels; 0 for none.
        cutout_probability: Share of the images in which the square is cut; some published code uses 0.5.
        autoaugment: AutoAugment's learned policy: "none", "cifar10" or "svhn".
        seed: Seed of the initial weights, the order, augmentation, dropout and weight noise.
        device: "auto" (CUDA where there is one), "cpu", "cuda" or "cuda:N".
        nproc: Processes that train together on this machine, each on its share of every batch; SAM and its relatives
            then perturb each process's weights by its own share (m-sharpness). On CUDA one a device.
        precision: "float32", "float64", "tf32" (float32 whose matrix products CUDA rounds), or mixed precision, which
            is autocast over float32 weights: "bfloat16", or "float16" with a gradient scaler.
        channels_last: Whether images lie in memory with their channels last: true, false, or "auto" (where it pays).
        fused: Whether the base optimizer takes its step in one kernel: true, false, or "auto" (on CUDA).
        compile: Compile the model with torch.compile, where that works.
        cuda_graphs: Record the whole step as a CUDA graph, where that works: faster where launches take longer than
            what they launch, as in batches of 128 small images.
        eval_every: Test every so many epochs; the last epoch always.
        save_every: Checkpoint every so many epochs; the last epoch always. The newest two are kept.
        keep_every: Also keep the checkpoint of every so many epochs, for trajectories; 0 for none.
        name: Start of the run's folder name; None makes one from dataset, model and optimizer.

    Raises:
        ConfigError: A value has the wrong type, is out of range, or is not read by the chosen optimizer.

    Example:
        >>> config = RunConfig(optimizer="sam", rho=0.1)
        >>> RunConfig.from_json(config.to_json()) == config
        True
        >>> len(config.hash)
        64
    """

    LATER: ClassVar[frozenset[str]] = frozenset({"penalty", "penalty_options", "validation_examples"})

    dataset: str = "digits"
    limit: int | None = None
    test_limit: int | None = None
    validation: float = 0.0
    validation_examples: int = 0
    image_size: int | None = None
    label_noise: float = 0.0
    noise_kind: Literal["uniform", "uniform-other"] = "uniform"
    data_seed: int = 0
    model: str = "smallcnn"
    model_options: dict[str, Any] = field(default_factory=dict)
    optimizer: str = "sgd"
    optimizer_options: dict[str, Any] = field(default_factory=dict)
    when: str | None = None
    base: Literal["sgd", "adam", "adamw"] | None = None
    lr: float = 0.05
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 5e-4
    rho: float | None = None
    adaptive: bool | Literal["official"] | None = None
    epsilon: float | None = None
    inner_lr: float | None = None
    inner_iter: int | None = None
    ball: Literal["tensor", "global"] | None = None
    std: float | None = None
    M: int | None = None
    inc: float | None = None
    epochs: int = 60
    batch_size: int = 64
    schedule: Literal["cosine", "constant", "multistep", "onecycle", "plateau"] = "cosine"
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1
    patience: int = 10
    warmup_epochs: float = 0.0
    stop_at_loss: float | None = None
    clip_norm: float | None = None
    label_smoothing: float = 0.0
    flooding: float | None = None
    mixup: float = 0.0
    adversarial_epsilon: float = 0.0
    adversarial_steps: int = 1
    random_perturbation: float = 0.0
    penalty: tuple[str, ...] = ()
    penalty_options: dict[str, Any] = field(default_factory=dict)
    crop_padding: int = 0
    crop_fill: float = 0.0
    flip: bool | Literal["alternating"] = False
    cutout: int = 0
    cutout_probability: float = 1.0
    autoaugment: Literal["none", "cifar10", "svhn"] = "none"
    seed: int = 0
    device: str = "auto"
    nproc: int = 1
    precision: Literal["float32", "float64", "bfloat16", "float16", "tf32"] = "float32"
    channels_last: bool | Literal["auto"] = "auto"
    fused: bool | Literal["auto"] = "auto"
    compile: bool = False
    cuda_graphs: bool = False
    eval_every: int = 1
    save_every: int = 1
    keep_every: int = 0
    name: str | None = None

    def validate(self) -> None:
        """Check ranges, and that what was set is read."""
        check_ranges(self)
        check_schedule(self)
        check_optimizer(self)
        check_penalties(self)
        check_names(self)

    def method_options(self) -> dict[str, Any]:
        """Return the options that were set for the optimizer's own method."""
        own = OPTIMIZERS[self.optimizer].options  # epsilon may be a penalty's
        names = [name for name in METHOD_FIELDS if name in own] + ["when"]
        return {**{n: v for n in names if (v := getattr(self, n)) is not None}, **self.optimizer_options}

    @property
    def folder_name(self) -> str:
        """The run's folder name: ``<name>-<first 8 digits of the hash>``."""
        plain = self.dataset.removeprefix("folder:").rstrip("/").rsplit("/", 1)[-1] or "folder"
        stem = self.name or "-".join((plain, self.model, self.optimizer, *self.penalty))
        stem = "".join(c if c.isalnum() or c in "-_." else "_" for c in stem).lstrip(".") or "run"
        return f"{stem[:NAME_LENGTH]}-{self.hash[:8]}"
