"""Work out each distinct call's shapes once while a module is traced.

Layers repeat. With dynamic sizes, most of what torch.export does is to work out, operator by
operator, what it has worked out for the layer before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch._functorch.config
from torch._dynamo.source import ConstantSource
from torch._guards import TracingContext, tracing
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx._lazy_graph_module import _use_lazy_graph_module
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext

from prunec.passes.ir import Port

_ALIAS = (torch.ops.aten.detach.default, torch.ops.aten.lift_fresh.default)
_PLAIN = (
    int,
    float,
    complex,
    bool,
    str,
    type(None),
    torch.dtype,
    torch.device,
    torch.layout,
    torch.memory_format,
)


class _UnknownError(Exception):
    """An argument or a result that is more than its type, sizes and strides."""


class RememberingMode(FakeTensorMode):
    """Fake tensors whose operators are worked out once for each distinct call."""

    def __init__(self) -> None:
        # One symbol for all sizes marked so that are equal in the examples.
        shapes = ShapeEnv(tracked_fakes=[], duck_shape=True, trace_asserts=True)
        with torch._functorch.config.patch(fake_tensor_allow_unsafe_data_ptr_access=False):
            super().__init__(shape_env=shapes, allow_non_fake_inputs=True, export=True)
        self.cache_enabled = False  # torch's own, whose bookkeeping costs what it saves
        self._known: dict[Any, tuple[torch.Tensor, torch.device]] = {}
        self._is_pure: dict[OpOverload, bool] = {}

    def dispatch(
        self,
        func: OpOverload,
        types: Sequence[type],
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        """Answer from memory where the same operator had arguments of the same shapes."""
        kwargs = kwargs or {}
        try:
            call = self._call(func, args, kwargs)
        except _UnknownError:
            return super().dispatch(func, types, args, kwargs)
        if call in self._known:
            meta, device = self._known[call]
            return FakeTensor(self, meta, device)
        result = super().dispatch(func, types, args, kwargs)
        if type(result) is FakeTensor and result.constant is None:
            self._known[call] = _meta(result), result.fake_device
        return result

    def _call(self, func: OpOverload, args: Sequence[object], kwargs: Mapping[str, object]) -> Any:
        if func not in self._is_pure:
            self._is_pure[func] = _is_pure(func)
        if not self._is_pure[func]:
            raise _UnknownError
        return func, _signature(args), tuple([(k, _signature(v)) for k, v in kwargs.items()])


def _is_pure(func: OpOverload) -> bool:
    """Whether the result's shape follows from the arguments' shapes, and is one new tensor."""
    returns = [str(r.type) for r in func._schema.returns]
    data = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)
    return (
        returns == ["Tensor"]
        and func.namespace in ("aten", "prims")
        and func not in _ALIAS
        and not func._schema.is_mutable
        and not any(tag in func.tags for tag in data)
    )


def _signature(argument: Any) -> Any:
    kind = type(argument)
    if kind is FakeTensor:
        if argument.constant is not None:
            raise _UnknownError
        return (
            argument.dtype,
            _sizes(argument.shape),
            _sizes(argument.stride()),
            *_sizes([argument.storage_offset()]),
            argument.fake_device,
            argument.requires_grad,
        )
    if kind in _PLAIN:
        return kind, argument
    if kind in (list, tuple, torch.Size):
        return tuple([_signature(a) for a in argument])
    if kind is torch.SymInt:
        return argument.node._expr
    raise _UnknownError


def _sizes(values: Any) -> tuple[Any, ...]:
    return tuple([v if type(v) is int else v.node._expr for v in values])


def _meta(fake: FakeTensor) -> torch.Tensor:
    """A meta tensor of these sizes; copies of it share what torch finds out about them."""
    with torch._C._DisableTorchDispatch():  # what torch.utils._mode_utils.no_dispatch is
        return torch.empty_strided(fake.shape, fake.stride(), dtype=fake.dtype, device="meta")


@contextmanager
def remembering(ports: Sequence[Port], examples: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """Let torch.export use such a mode, with one symbol for each label of the inputs' sizes.

    torch.export takes its mode from the tracing context where there is one, as it does when
    Dynamo traces. No code is generated for graphs on the way, which nobody runs.

    Args:
        ports: The inputs.
        examples: The tensor that each will be given; sizes of one label are equal.
    """
    mode = RememberingMode()
    labels = Counter(size for port in ports for size in port.shape if isinstance(size, str))
    fakes = []  # the converter itself holds them weakly
    for port in ports:
        sizes = [
            DimDynamic.STATIC
            if isinstance(size, int)
            # What no other input shares may yet have the same example size as another label.
            else DimDynamic.DUCK
            if labels[size] > 1
            else DimDynamic.DYNAMIC
            for size in port.shape
        ]
        fakes.append(
            mode.from_tensor(
                examples[port.name],
                source=ConstantSource(port.name.replace(".", "_")),
                symbolic_context=StatelessSymbolicContext(sizes),
            )
        )
    with (
        tracing(TracingContext(mode)),
        _use_lazy_graph_module(True),
        # Operators that are made of others reach the mode whole: one call to remember, not ten.
        torch._C._AutoDispatchBelowAutograd(),
    ):
        yield
