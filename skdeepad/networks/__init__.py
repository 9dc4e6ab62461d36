"""Network architectures, and how one is chosen and built for an input shape."""

from skdeepad.networks._build import (
    build_decoder,
    build_encoder,
    build_head,
    code_size,
    collapse_risks,
)
from skdeepad.networks._lenet import LeNet, lenet_cifar10, lenet_fashion_mnist, lenet_mnist
from skdeepad.networks._mlp import MLP, BranchLinear, Squash

__all__ = [
    "MLP",
    "BranchLinear",
    "LeNet",
    "Squash",
    "build_decoder",
    "build_encoder",
    "build_head",
    "code_size",
    "collapse_risks",
    "lenet_cifar10",
    "lenet_fashion_mnist",
    "lenet_mnist",
]
