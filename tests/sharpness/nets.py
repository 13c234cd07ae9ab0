"""Networks of every kind that balancing meets, and the shapes of their inputs."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landscape.models import build_model
from landscape.seeding import generator, seeded
from tests.sharpness.problems import relu_net


class Residual(nn.Module):
    """A stem, two blocks ``x + f(x)`` without normalization, pooling, and logits."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1)
        self.one, self.two = (nn.Conv2d(4, 5, 3, padding=1), nn.Conv2d(5, 4, 3, padding=1))
        self.three, self.four = (nn.Conv2d(4, 5, 1), nn.Conv2d(5, 4, 1, bias=False))
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        x = F.relu(x + self.two(F.relu(self.one(x))))
        x = x + self.four(torch.relu(self.three(x)))
        return self.head(F.avg_pool2d(x, 2).mean((2, 3)))


class Tied(nn.Module):
    """Two layers of one weight, each with its own bias, and an embedding tied to the last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 6, padding_idx=0)
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
        self.second.weight = self.first.weight
        self.last = nn.Linear(6, 7, bias=False)
        self.last.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens).mean(1)
        return self.last(torch.relu(self.second(torch.relu(self.first(x)))))


class Attention(nn.Module):
    """Self-attention over tokens, a feed-forward part with layer normalization, and a class token."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 6))
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.norm = nn.LayerNorm(6)
        self.up, self.down, self.head = nn.Linear(6, 8), nn.Linear(8, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return self.head((x + self.down(F.relu(self.up(self.norm(x)))))[:, 0])


class CrossAttention(nn.Module):
    """Attention to keys and values of another width, which has a matrix for each."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 2, kdim=4, vdim=4, add_bias_kv=True, batch_first=True)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        other = x[..., :4]
        return self.head(self.attention(x, other, other)[0].mean(1))


class Pairs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pair, self.rms = nn.Bilinear(3, 3, 4), nn.RMSNorm(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.rms(self.pair(x[:, :3], x[:, 3:]))


class Branching(nn.Module):
    """Its forward depends on its inputs' values, so there is no graph of it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.second(F.relu(x) if x.sum() > 0 else torch.tanh(x))


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3, groups=2, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(24, 3),
    )


def transposed() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3),
        nn.ReLU(),
        nn.ConvTranspose2d(4, 6, 3, groups=2, stride=2),
        nn.GroupNorm(3, 6),
        nn.ReLU(),
        nn.ConvTranspose2d(6, 3, 2, bias=False),
        nn.Flatten(),
        nn.Linear(3 * 10 * 10, 3),
    )


IMAGES, VECTORS, TOKENS, WORDS = (5, 2, 6, 6), (5, 6), (5, 4, 6), (5, 4)
NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp": (relu_net, VECTORS),
    "cnn": (cnn, IMAGES),
    "residual": (Residual, IMAGES),
    "transposed": (transposed, IMAGES),
    "attention": (Attention, TOKENS),
    "cross-attention": (CrossAttention, TOKENS),
    "tied": (Tied, WORDS),
    "branching": (Branching, VECTORS),
    "encoder": (
        lambda: nn.Sequential(nn.TransformerEncoderLayer(6, 2, 8, batch_first=True), nn.Linear(6, 3)),
        TOKENS,
    ),
    "signal": (
        lambda: nn.Sequential(
            nn.Conv1d(4, 3, 2), nn.PReLU(3), nn.ConvTranspose1d(3, 2, 2), nn.Flatten(), nn.Linear(12, 3)
        ),
        TOKENS,
    ),
    "bilinear": (Pairs, VECTORS),
    "resnet20": (lambda: build_model("resnet20", classes=3, input_shape=(2, 8, 8), width=4), (3, 2, 8, 8)),
    "preactresnet18": (
        lambda: build_model("preactresnet18", classes=3, input_shape=(2, 8, 8), width=4),
        (3, 2, 8, 8),
    ),
}


def build(name: str, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, Tensor]:
    """A net in evaluation mode with nothing at its initial value, and inputs."""
    make, shape = NETS[name]
    stream = generator(0, "tests", "balance")
    with seeded(0, "tests", "balance", name):
        net = make().to(dtype).eval()
    with torch.no_grad():
        for key, tensor in net.state_dict().items():
            if tensor.is_floating_point() and tensor.ndim < 2:
                noise = torch.randn(tensor.shape, generator=stream, dtype=torch.float64).to(dtype)
                tensor.add_(0.3 * noise.abs() if "running_var" in key else 0.3 * noise)
    if name == "tied":
        return net, torch.randint(0, 7, shape, generator=stream)
    return net, torch.randn(shape, generator=stream, dtype=torch.float64).to(dtype)
