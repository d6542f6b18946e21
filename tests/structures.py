"""Small networks for images (N, 3, 12, 12), each built of something that rules for the backward pass must get right."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["STRUCTURES", "images", "structure"]


class _Net(nn.Module):
    """A stem, what the subclass does with its features (N, 8, 6, 6), and a head."""

    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=bias)
        self.body = self.parts(bias)
        self.head = nn.Linear(8, 4, bias=bias)

    def parts(self, bias: bool) -> nn.Module:
        return nn.Conv2d(8, 8, 3, padding=1, bias=bias)

    def middle(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.middle(F.relu(self.stem(x))).mean((2, 3)))


class Plain(_Net):
    pass


class Skip(_Net):
    """A residual block as ResNets have it: everything in place, one ReLU used twice."""

    def parts(self, bias):
        return nn.ModuleDict({"first": super().parts(bias), "second": super().parts(bias), "relu": nn.ReLU(True)})

    def middle(self, x):
        identity = x
        out = self.body["relu"](self.body["first"](x))
        out = self.body["second"](out)
        out += identity
        return self.body["relu"](out)


class ScaledDifference(Skip):
    def middle(self, x):
        y = self.body["second"](x)
        return F.relu(torch.add(self.body["first"](x), y, alpha=0.5) - 0.5 * y + x)


class Concatenation(_Net):
    def parts(self, bias):
        return nn.ModuleList([nn.Conv2d(8, 3, 1, bias=bias), nn.Conv2d(8, 5, 3, padding=1, bias=bias)])

    def middle(self, x):
        return torch.cat([F.relu(conv(x)) for conv in self.body], 1)


class Depthwise(_Net):
    """Depthwise and grouped convolutions, ReLU6 and a linear bottleneck."""

    def parts(self, bias):
        return nn.Sequential(
            nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=bias),
            nn.ReLU6(inplace=True),
            nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=2, bias=bias),
        )

    def middle(self, x):
        return F.relu(x + self.body(x))


class SqueezeExcite(_Net):
    def parts(self, bias):
        first, second = (nn.Conv2d(8, 8, 1, bias=bias) for _ in range(2))
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), first, nn.SiLU(), second, nn.Sigmoid())

    def middle(self, x):
        return x * self.body(x)


class SqueezeExciteInPlace(SqueezeExcite):
    def middle(self, x):
        x = 2 * x
        gate = self.body(x).view(len(x), -1, 1, 1).expand_as(x)
        x.mul_(gate)  # the result is dropped: the old variable holds it
        return x


class Swish(_Net):
    """Smooth activations, one of them written out."""

    def middle(self, x):
        x = F.hardswish(self.body(x), inplace=True)
        return F.silu(x) + x * F.relu6(x + 3) / 6 + x * torch.sigmoid(x)


class Pools(_Net):
    def middle(self, x):
        x = F.avg_pool2d(F.max_pool2d(F.relu(self.body(x)), 3, stride=1, padding=1), 2)
        return F.interpolate(F.adaptive_avg_pool2d(x, 2), scale_factor=2, mode="bilinear")


class Views(_Net):
    """Moving numbers about, dropout, and a linear layer over them."""

    def parts(self, bias):
        return nn.ModuleList([nn.Dropout(0.5), nn.Linear(36, 36, bias=bias)])

    def middle(self, x):
        x = self.body[0](x).permute(0, 2, 3, 1).reshape(len(x), 36, 8).transpose(1, 2)
        return F.relu(self.body[1](x)).view(len(x), 8, 6, 6).flip(3).contiguous()


class Norms(_Net):
    """Batch norm behind a convolution (it is folded) and before one (it is not)."""

    def parts(self, bias):
        norms = [nn.BatchNorm2d(8), nn.BatchNorm2d(8)]
        for norm in norms:
            norm.running_mean.normal_(0, 0.2 if bias else 0)
            norm.running_var.uniform_(0.5, 2)
            norm.weight.data.uniform_(0.5, 2)
            norm.bias.data.normal_(0, 0.2 if bias else 0)
        return nn.Sequential(super().parts(bias), norms[0], nn.ReLU(), norms[1], nn.ReLU(), super().parts(bias))


class InPlaceDropped(_Net):
    """In-place calls whose result nobody takes."""

    def middle(self, x):
        x = self.body(x)
        F.relu_(x)
        x = 2 * x
        x.add_(0.1)
        x[:, :4].mul_(2)
        return x


STRUCTURES = {
    cls.__name__: cls
    for cls in (
        Plain,
        Skip,
        ScaledDifference,
        Concatenation,
        Depthwise,
        SqueezeExcite,
        SqueezeExciteInPlace,
        Swish,
        Pools,
        Views,
        Norms,
        InPlaceDropped,
    )
}


def structure(name: str, *, bias: bool = True, seed: int = 0) -> nn.Module:
    """A network with random weights, in double precision."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return STRUCTURES[name](bias).double().eval()


def images(count: int = 3, seed: int = 0) -> Tensor:
    """(count, 3, 12, 12), in double precision."""
    return torch.randn(count, 3, 12, 12, generator=torch.Generator().manual_seed(seed)).double()
