"""Network architectures, and how one is chosen and built for an input shape."""

from skdeepad.networks._adversarial import Discriminator, UNet, encoder_decoder
from skdeepad.networks._attention import SelfAttention
from skdeepad.networks._build import (
    build_attention,
    build_decoder,
    build_discriminator,
    build_encoder,
    build_generator,
    build_head,
    build_map_network,
    is_series,
)
from skdeepad.networks._fcn import (
    ColumnEmbedding,
    Frozen,
    fcn_cifar10,
    fcn_fashion_mnist,
    fcn_imagenet,
    fcn_table,
)
from skdeepad.networks._lenet import LeNet, lenet_cifar10, lenet_fashion_mnist, lenet_mnist
from skdeepad.networks._look import code_shape, code_size, collapse_risks, draws_nothing, n_branches
from skdeepad.networks._mlp import MLP, BranchLinear, Scale, Squash
from skdeepad.networks._norm import BATCH_NORMS, LeftOutOfBatchNorm, copied_norms
from skdeepad.networks._receptive_field import Field, gaussian, receptive_field

__all__ = [
    "BATCH_NORMS",
    "MLP",
    "BranchLinear",
    "ColumnEmbedding",
    "Discriminator",
    "Field",
    "Frozen",
    "LeNet",
    "LeftOutOfBatchNorm",
    "Scale",
    "SelfAttention",
    "Squash",
    "UNet",
    "build_attention",
    "build_decoder",
    "build_discriminator",
    "build_encoder",
    "build_generator",
    "build_head",
    "build_map_network",
    "code_shape",
    "code_size",
    "collapse_risks",
    "copied_norms",
    "draws_nothing",
    "encoder_decoder",
    "fcn_cifar10",
    "fcn_fashion_mnist",
    "fcn_imagenet",
    "fcn_table",
    "gaussian",
    "is_series",
    "lenet_cifar10",
    "lenet_fashion_mnist",
    "lenet_mnist",
    "n_branches",
    "receptive_field",
]
