"""What must be equal in models that are trained as one."""

from __future__ import annotations

from collections.abc import Hashable
from types import FunctionType
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from skdeepad.engine.objective import Objective, tensors_of

if TYPE_CHECKING:
    from skdeepad.engine.loop import Member

# What every module has; the rest of its attributes tells it from others of its class.
_OF_ALL_MODULES = frozenset(vars(nn.Module()))


def traits(member: Member) -> dict[str, Hashable]:
    """Return by name what must be equal in members that are trained as one.

    Parameters
    ----------
    member : Member
        A training.

    Returns
    -------
    dict of str to hashable
        To compare by ``==``.
    """
    stage, rows, sampler = member.stage, member.rows, member.sampler
    schedule = id(stage.lr_schedule) if callable(stage.lr_schedule) else stage.lr_schedule
    found: dict[str, Hashable] = {
        "shape of a batch": member.batch_shape,
        "steps of an epoch": sampler.steps,
        "places for labeled anomalies": sampler.places,
        "number of epochs": member.n_epochs,
        "lr_schedule": schedule,
        "precision": stage.precision,
        "cuda_graph": stage.cuda_graph,
        "device": (rows.device, rows.streamed),
    }
    if stage.compile or stage.precision == "bfloat16":
        # A graph of its own; some layers do not mix bfloat16 and float32 in a stack.
        found["model"] = id(member)
    return found | architecture(member.objective)


def architecture(objective: Objective) -> dict[str, Hashable]:
    """Return all that an objective is but for the values of its tensors, by name.

    Parameters
    ----------
    objective : Objective
        A method.

    Returns
    -------
    dict of str to hashable
        To compare by ``==``: of each module its class and its plain attributes, of each tensor
        its shape and type.
    """
    found: dict[str, Hashable] = {}
    for name, module in objective.named_modules():
        apart = objective.apart_from_losses if not name else ()
        own: type = type(module)
        found[f"class of {name or 'the objective'}"] = own
        for attribute, value in vars(module).items():
            if attribute not in _OF_ALL_MODULES and attribute not in apart:
                found[f"{name}.{attribute}".lstrip(".")] = _frozen(value)
    for name, tensor in tensors_of(objective).items():
        found[f"shape of {name}"] = tuple(tensor.shape), tensor.dtype, tensor.requires_grad
    return found


def differences(one: dict[str, Hashable], other: dict[str, Hashable]) -> list[str]:
    """Return the names of what differs, at most three."""
    names = [name for name in one.keys() | other.keys() if one.get(name) != other.get(name)]
    return sorted(names)[:3]


def _frozen(value: Any) -> Hashable:
    """Return something to compare by ``==`` that is equal for values that mean the same."""
    if isinstance(value, dict):
        return type(value), tuple((name, _frozen(each)) for name, each in value.items())
    if isinstance(value, list | tuple):
        return type(value), tuple(_frozen(each) for each in value)
    if isinstance(value, Tensor):  # compares number by number
        return id(value)
    own: Any = type(value)
    # An object that compares by identity and is no more than its attributes; functions are more.
    plain = own.__eq__ is object.__eq__ and own.__reduce__ is object.__reduce__
    if plain and hasattr(value, "__dict__") and not isinstance(value, type | FunctionType):
        return own, _frozen(value.__reduce_ex__(4)[2])  # the state that a copy would have
    return value if isinstance(value, Hashable) else id(value)
