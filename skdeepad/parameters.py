"""Parameters of estimators: declared once, as typed fields that subclasses inherit."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from textwrap import fill
from typing import Any, ClassVar, Self, dataclass_transform

import numpy as np
from sklearn.base import BaseEstimator

from skdeepad.notices import warn

# Of a parameter's description in a class's docstring.
_INDENT: dict[str, Any] = {
    "initial_indent": 8 * " ",
    "subsequent_indent": 8 * " ",
    "break_on_hyphens": False,
    "break_long_words": False,
}


def parameter(
    *,
    default: Any = MISSING,
    constraint: list[Any] | None = None,
    doc: str = "",
    kind: str | None = None,
    kw_only: bool = True,
    stands_for: Mapping[Any, Callable[[], Any]] | None = None,
) -> Any:
    """Declare a parameter: the value of a field of a :class:`Parametrized` class.

    Parameters
    ----------
    default : object, default=MISSING
        Its default: never an object that could be changed. Left out: it must be passed.
    constraint : list, default=None
        What it may be, as in scikit-learn's ``_parameter_constraints``. None: anything.
    doc : str, default=""
        What it is. ``{name}`` stands for the class attribute ``_name``.
    kind : str, default=None
        Its type in words. None: read from the annotation.
    kw_only : bool, default=True
        Whether it must be passed by keyword.
    stands_for : dict, default=None
        Makes of parts, by the values that stand for them: ``{None: Compute}`` says that None
        stands for ``Compute()``, whose own parameters can then be set as ``compute__precision``.

    Returns
    -------
    object
        A field of a dataclass.

    Examples
    --------
    >>> from skdeepad.parameters import Parametrized, parameter
    >>> class Hinge(Parametrized):
    ...     margin: float = parameter(default=1.0, doc="Where it bends.", kw_only=False)
    >>> Hinge(2.0)
    Hinge(margin=2.0)
    """
    facts = {"constraint": constraint, "doc": doc, "kind": kind, "stands_for": stands_for or {}}
    return field(default=default, kw_only=kw_only, metadata=facts)


@dataclass_transform(eq_default=False, kw_only_default=True, field_specifiers=(parameter, field))
class Parametrized(BaseEstimator):
    """Estimator whose parameters are its annotated attributes, and those of its base classes.

    A subclass is made a dataclass: its ``__init__`` stores the parameters and does no more.

    - ``name: type = parameter(default=..., ...)`` declares one; a plain default does as well.
    - ``name = value``, without a type, gives an inherited one another default, and
      ``name: ClassVar[...] = value`` takes it away.
    - Class settings that are no parameters have no annotation, or ``ClassVar``.
    - ``{parameters}`` in the docstring is filled with what they are, in the order of the signature:
      what may be passed by position, base classes' first; then the class's own, and the others'.

    Examples
    --------
    >>> from skdeepad.parameters import Parametrized, parameter
    >>> class Shape(Parametrized):
    ...     n_sides: int = parameter(default=3, doc="Number of sides.")
    >>> class Square(Shape):
    ...     side: float = parameter(default=1.0, doc="Length of a side.")
    ...     n_sides = 4
    >>> Square().get_params()
    {'n_sides': 4, 'side': 1.0}
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        own = _own_annotations(cls)
        _refuse_misleading(cls, own)
        if _has_written_init(cls):
            if own:
                raise TypeError(
                    f"{cls.__name__} has an __init__ of its own, or inherits one, and declares "
                    f"{', '.join(own)} as well: expected one or the other. Leave out __init__."
                )
            return
        _restate_inherited(cls)
        _complete_redeclared(cls, own)
        dataclass(eq=False, repr=False, kw_only=True, match_args=False)(cls)
        _gather_constraints(cls, own)
        cls.__init__.__signature__ = _ordered(cls)  # type: ignore[attr-defined]
        if cls.__doc__:
            cls.__doc__ = cls.__doc__.replace("    {parameters}", _documentation(cls))

    def set_params(self, **params: Any) -> Self:
        """Set parameters of this estimator and, as ``part__name``, of its parts.

        Parameters
        ----------
        **params : dict
            Parameters. Where a value stands for a part, as None does for a default one, it becomes
            that part first, if a parameter of the part is among them.

        Returns
        -------
        self : object
            This estimator.

        Raises
        ------
        ValueError
            If there is no such parameter, or no part that could have it.
        """
        for name in _parts(type(self)):
            nested = sorted(key for key in params if key.startswith(f"{name}__"))
            if nested:
                made = self._part(name, params.get(name, getattr(self, name)))
                if not hasattr(made, "set_params"):
                    raise ValueError(
                        f"{nested[0]} is a parameter of what is passed as {name}, and {name} is "
                        f"{made!r}. Pass {name}={_offer(type(self), name)} as well."
                    )
                params = {**params, name: made}
        return super().set_params(**params)

    def _part_names(self) -> list[str]:
        """Return the parameters that may hold a part."""
        return list(_parts(type(self)))

    def _part(self, name: str, value: Any = MISSING) -> Any:
        """Return a part, or what a value of its parameter stands for."""
        value = getattr(self, name) if value is MISSING else value
        value = bool(value) if isinstance(value, np.bool_) else value  # from an array of them
        makes = _parts(type(self))[name]
        known = isinstance(value, bool | None) and value in makes
        return makes[value]() if known else value

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_versions": _versions()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        saved, running = state.pop("_versions", {}), _versions()
        # The class attribute, which is the default, would answer for them in silence.
        missing = {
            name: each.default
            for name, each in inspect.signature(type(self)).parameters.items()
            if name not in state and each.default is not each.empty
        }
        if saved != running or missing:
            of_file, of_now = _in_words(saved), _in_words(running)
            without = ", ".join(f"{name}={value!r}" for name, value in missing.items())
            warn(
                f"This {type(self).__name__} was saved with {of_file}, and this is {of_now}"
                + (f"; what it does not know is taken from the defaults: {without}" * bool(missing))
                + ". It may score differently. Fit it anew, or load it with the versions it is of."
            )
        super().__setstate__(missing | state)


def _offer(cls: type, name: str) -> str:
    """Say what may be passed as a part."""
    makes = _parts(cls)[name]
    return " or ".join(f"{value!r}" for value in makes) + ", or an object that has it,"


def _versions() -> dict[str, str]:
    """Return the versions that scores depend on."""
    packages = {"skdeepad": "skdeepad", "torch": "torch", "scikit-learn": "sklearn"}
    loaded = {name: sys.modules.get(module) for name, module in packages.items()}
    return {name: str(module.__version__) for name, module in loaded.items() if module is not None}


def _in_words(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items()) or (
        "an unknown version of skdeepad"
    )


def _own_annotations(cls: type) -> list[str]:
    """Return the names annotated in a class as fields."""
    annotations = inspect.get_annotations(cls)
    return [name for name, kind in annotations.items() if "ClassVar" not in str(kind)]


def _restate_inherited(cls: type) -> None:
    """Make fields of a class's own defaults for inherited parameters."""
    annotations = inspect.get_annotations(cls)
    for name, inherited in _inherited(cls).items():
        if name in annotations:
            continue
        # dataclass takes the first base's field, also if that one has it from a class above.
        taken = _taken_by_dataclass(cls, name)
        if inherited is None and taken is not None:
            annotations[name] = ClassVar
        elif inherited is not None and (name in vars(cls) or taken is not inherited):
            again = {
                "default": vars(cls).get(name, inherited.default),
                "kw_only": inherited.kw_only,
            }
            setattr(cls, name, field(**again, metadata=inherited.metadata))
            annotations[name] = inherited.type
    cls.__annotations__ = annotations


def _inherited(cls: type) -> dict[str, Field[Any] | None]:
    """Return by name the fields of the classes above, those that Python's own order finds.

    None stands for a parameter that has been taken away.
    """
    found: dict[str, Field[Any] | None] = {}
    for base in filter(is_dataclass, cls.__mro__[1:]):
        declared = {each.name: each for each in fields(base)}
        for name in inspect.get_annotations(base):
            found.setdefault(name, declared.get(name))
    return found


def _taken_by_dataclass(cls: type, name: str) -> Field[Any] | None:
    """Return the field that dataclass would take, or None if it would take none."""
    for base in cls.__mro__[1:]:
        if name in getattr(base, "__dataclass_fields__", {}):
            return next((each for each in fields(base) if each.name == name), None)
    return None


def _gather_constraints(cls: type, own: list[str]) -> None:
    """Set the constraints: of each parameter those of the class that has declared it last.

    A class may also state some in a dict, as scikit-learn's do, in its body.
    """
    by_name = {each.name: each.metadata.get("constraint") for each in fields(cls)}
    stated = vars(cls).get("_parameter_constraints", {})
    said = {name: by_name[name] or stated.get(name) for name in own}
    cls._own_constraints = stated | said  # type: ignore[attr-defined]
    gathered: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        plain = vars(base).get("_parameter_constraints", {})
        gathered |= vars(base).get("_own_constraints", plain)
    cls._parameter_constraints = {  # type: ignore[attr-defined]
        name: gathered[name] for name in by_name if gathered.get(name) is not None
    }


def _complete_redeclared(cls: type, own: list[str]) -> None:
    """Keep what is known of an inherited parameter that is declared anew by a plain value."""
    inherited = _inherited(cls)
    for name in own:
        known = inherited.get(name)
        if known is not None and not isinstance(vars(cls).get(name, known), Field):
            default = {"default": vars(cls)[name], "kw_only": known.kw_only}
            setattr(cls, name, field(**default, metadata=known.metadata))


def _refuse_misleading(cls: type, own: list[str]) -> None:
    """Refuse declarations that would not do what they seem to."""
    for name, value in vars(cls).items():
        if isinstance(value, Field) and name not in inspect.get_annotations(cls):
            raise TypeError(
                f"{cls.__name__}.{name} = parameter(...) has no type: expected one, as in "
                f"{name}: float = parameter(...)."
            )
    for base in cls.__mro__[1:]:
        foreign = not issubclass(base, Parametrized) and "sklearn" not in base.__module__
        if foreign and (names := _own_annotations(base)):
            raise TypeError(
                f"{cls.__name__} inherits {', '.join(names)} from {base.__name__}, whose annotated "
                f"attributes are no parameters: expected a class that derives from Parametrized. "
                f"Write class {base.__name__}(Parametrized), or use ClassVar."
            )
    for name in own:
        if callable(getattr(super(cls, cls), name, None)) and name not in _inherited(cls):
            raise TypeError(
                f"{cls.__name__}.{name} is annotated, which makes it a parameter, and there is a "
                "method of that name: expected another name."
            )
        if name.startswith("_") or name.endswith("_"):
            raise TypeError(
                f"{cls.__name__}.{name} is annotated, which makes it a parameter: expected a name "
                "without an underscore at either end. Leave out the annotation, or use ClassVar."
            )


def _has_written_init(cls: type) -> bool:
    """Tell whether a class, or one above it, has an ``__init__`` that somebody has written."""
    for each in cls.__mro__:
        if each is Parametrized:
            return False
        if "__init__" in vars(each):
            return "__dataclass_fields__" not in vars(each)
    return False


def _origins(cls: type) -> dict[str, type]:
    """Return the class that declared each parameter first, in the order of the signature.

    What is most special comes first: the class's own, then those of the classes above it.
    """
    known = {each.name for each in fields(cls)}
    first = {
        name: base
        for base in cls.__mro__
        for name in inspect.get_annotations(base)
        if name in known
    }
    return {
        name: base
        for base in cls.__mro__
        for name in inspect.get_annotations(base)
        if first.get(name) is base
    }


def _ordered(cls: type) -> inspect.Signature:
    signature = inspect.signature(vars(cls)["__init__"])
    by_name = dict(signature.parameters)
    order = [by_name.pop("self"), *(by_name[name] for name in _origins(cls))]
    plain = [each.replace(annotation=inspect.Parameter.empty) for each in order]
    # What may be passed by position has the places that __init__ gives it: base classes' first.
    places = {name: place for place, name in enumerate(signature.parameters)}
    return signature.replace(
        parameters=sorted(
            plain,
            key=lambda each: (
                each.kind,
                0 if each.kind is each.KEYWORD_ONLY else places[each.name],
            ),
        ),
        return_annotation=inspect.Signature.empty,
    )


def _parts(cls: type) -> dict[str, Mapping[Any, Callable[[], Any]]]:
    """Return what values of parameters stand for, of those that may hold a part."""
    known = {each.name: each.metadata.get("stands_for") for each in fields(cls)}
    return {name: makes for name, makes in known.items() if makes}


def _documentation(cls: type) -> str:
    """Return a section of parameters as numpydoc has it, indented as in a class."""
    by_name = {each.name: each for each in fields(cls)}
    entries = []
    for name in inspect.signature(cls).parameters:
        each = by_name[name]
        kind = each.metadata.get("kind") or in_words(each.type)
        default = f'"{each.default}"' if isinstance(each.default, str) else each.default
        # Braces behind a letter are LaTeX's.
        text = re.sub(
            r"(?<![\w}])\{(\w+)\}",
            lambda place: str(getattr(cls, f"_{place[1]}")),
            each.metadata.get("doc", ""),
        )
        entries.append(f"    {name} : {kind}" + f", default={default}" * (default is not MISSING))
        entries.append(fill(" ".join(text.split()), 100, **_INDENT))
    return "\n".join(entries)


def in_words(annotation: Any) -> str:
    """Say what an annotation means as the documentation does.

    Parameters
    ----------
    annotation : type or str
        What it is, or as written in the source.

    Returns
    -------
    str
        For a reader.

    Examples
    --------
    >>> from skdeepad.parameters import in_words
    >>> in_words('float | Literal["auto"] | None')
    'float or "auto" or None'
    >>> in_words('Literal["M2", "M1+M2"]'), in_words("tuple[int, ...]")
    ('{"M2", "M1+M2"}', 'tuple of int')
    """
    if isinstance(annotation, type):
        annotation = annotation.__name__
    parts = re.split(r" \| (?![^\[]*\])", str(annotation).replace("typing.", "").replace("'", '"'))
    words = []
    for part in parts:
        inside = part.partition("[")[2].removesuffix("]")
        if part.startswith("Literal"):
            words.append(inside if "," not in inside else "{" + inside + "}")
        elif inside:
            words.append(f"{part.partition('[')[0]} of {inside.removesuffix(', ...')}")
        else:
            words.append(part)
    return " or ".join(words)
