"""Drawing at every dropout of a model, for the samples of one forward pass."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import cache, partial
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from regtorch.compat.torch_internals import transforms_are_active, without_any_mode
from regtorch.dropout.base import Noise
from regtorch.mc import own_generators
from regtorch.mc.affine import is_affine
from regtorch.mc.dropouts import noise_of, strength
from regtorch.mc.interception import intercepted
from regtorch.mc.layout import Layout, NoLayoutError, layout_of
from regtorch.mc.noise_cache import Store
from regtorch.mc.random_op import Neutral, RandomOp, seed_generator
from regtorch.tensor_ops.full_precision import widened

#: noise that is kept for the next batch, in bytes at most; more is drawn again
_KEPT_BYTES = 4 * 2**20


class Sampler:
    """The noise of all dropouts of a model, keyed by (seed, dropout, sample).

    A dropout is identified by its module's name and by how often that was called before in the same pass; what draws
    within torch's or a user's own code by the order of its draws in a pass.

    Args:
        seed: of all noise.
        shared: one draw for all rows; otherwise one for each.
    """

    def __init__(self, seed: int, shared: bool) -> None:
        self.seed, self.shared = seed, shared
        #: dropout -> where the rows are in what it acts on; None where no row is
        self.layouts: dict[str, Layout | None] = {}
        #: dropouts in whose input the rows cannot be found: there every row has its own draws
        self.not_shared: set[str] = set()
        #: draws that are made as they are called, of all rows at once
        self.as_called: set[str] = set()
        #: dropout -> the shape it last acted on
        self.shapes: dict[str, tuple[int, ...]] = {}
        #: dropouts do nothing: to see what a model computes besides
        self.neutral = False
        #: how noise is made neutral
        self.neutral_kind: Neutral = "mean"
        #: whether all draws could be made neutral since this was set to True; and whether all others were normal ones
        self.is_neutral = True
        self.is_normal = True
        #: how often something was dropped, and how often of that within other code
        self.fired = 0
        self.inside = 0
        #: how often a tensor's numbers became a Python value, on which what is run may depend, and how often a shape
        self.read = 0
        self.shaped = 0
        self._at_work = False  # then it is the noise's own numbers that are read
        self._watching = False  # whether all draws are taken over
        #: how often a dropout was met that was not when the rows' places were learned
        self.unforeseen = 0
        self._kept: dict[tuple[Any, ...], tuple[Tensor, Tensor | None]] = {}
        #: the device of torch's own generator, if the model's own code draws from it for one sample at a time; else None
        self.native: torch.device | None = None
        #: whether Python's and NumPy's generators are seeded for each sample, too
        self.python_random = False
        #: the model's own ones of these
        self.generators: tuple[own_generators.Generator, ...] = ()
        self._store = Store(_KEPT_BYTES)
        self.begin(range(1), 1)

    def begin(self, samples: range, rows: int, first_row: int = 0) -> None:
        """Start a forward pass of these samples of so many rows each."""
        self.samples, self.rows, self.first_row = samples, rows, first_row
        if self.native is not None:
            seed_generator(self.native, self.key("model", samples[0], self.shared and not self.not_shared))
        if self.python_random:
            random.seed(self.key("random", samples[0]))
            np.random.seed(self.key("numpy", samples[0]) % 2**32)
            for index, generator in enumerate(self.generators):
                own_generators.seed(generator, self.key(f"generator {index}", samples[0]))
        #: whether a dropout that works in place leaves its input alone, as nothing needs that any more
        self.keeps_inputs = False
        self._calls: dict[str, int] = {}

    def forget_layouts(self) -> None:
        """Forget where the rows are."""
        self.layouts, self.not_shared, self.as_called = {}, set(), set()

    def learn(self, few: dict[str, tuple[int, ...]], many: dict[str, tuple[int, ...]], rows: tuple[int, int]) -> None:
        """Find where the rows are at each dropout, from the shapes it met for two numbers of rows."""
        for site, shape in few.items():
            if site in self.layouts:
                continue
            if site in self.as_called and rows[0] != rows[1] and many.get(site) == shape:
                self.layouts[site] = None  # it has no rows, and is one draw for all of them
                continue
            try:
                if site in self.as_called:
                    raise NoLayoutError("nothing is known of it")
                self.layouts[site] = layout_of(shape, many.get(site, shape), rows)
            except NoLayoutError:
                self.layouts[site] = None
                self.not_shared.add(site)

    def give_up_blocks(self) -> bool:
        """Give every row its own draws where a row seems to be a block of entries; return whether any did."""
        blocks = {site for site, layout in self.layouts.items() if layout is not None and layout.block > 1}
        self.not_shared |= blocks
        self.layouts |= dict.fromkeys(blocks)
        return bool(blocks)

    @property
    def draws_natively(self) -> bool:
        """Whether one draw of all rows at once, as the model's own code makes it, is all that is wanted."""
        return not self.shared or (bool(self.layouts) and self.layouts.keys() <= self.as_called)

    @property
    def foldable(self) -> bool:
        """Whether several samples can go through the model as one batch."""
        return all(layout is not None for layout in self.layouts.values())

    def layout_at(self, name: str) -> Layout | None:
        """Where the rows are in what a dropout acts on next."""
        return self.layouts.get(f"{name}#{self._calls.get(name, 0)}")

    def site(self, name: str, shape: Sequence[int]) -> str:
        """Count one more call of a dropout."""
        call = self._calls.get(name, 0)
        self._calls[name] = call + 1
        site = f"{name}#{call}"
        self.shapes[site] = tuple(shape)
        self.fired += 1
        return site

    def _layout(self, site: str, shape: Sequence[int]) -> tuple[Layout | None, bool]:
        """Where the rows are in what a dropout acts on, and whether they have one draw in common.

        They have not where each row draws for itself, and where a batch is not made of rows alike, such as packed
        sequences of several lengths.
        """
        if site not in self.layouts:
            self.unforeseen += 1
            return None, False
        layout = self.layouts[site]
        if layout is None:
            return None, self.shared and site not in self.not_shared
        if layout.dim >= len(shape):  # the model took another path, and this is another draw
            self.unforeseen += 1
            return None, False
        entries = layout.block * self.rows
        alike = shape[layout.dim] in (entries, entries * len(self.samples))
        if layout.block == 1 and len(self.samples) == 1 and shape[layout.dim] < self.rows:
            alike = self.shared  # some of the rows only, which have their draw in common all the same
        return (layout, self.shared) if alike else (None, False)

    def key(self, site: str, sample: int, shared: bool = True) -> int:
        """The seed of one dropout's noise for one sample; not shared, it is the seed of these rows alone."""
        rows = "" if shared else f"/{self.first_row}"
        digest = blake2b(f"{self.seed}/{site}/{sample}{rows}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") >> 1

    def drop(self, name: str, noise: Noise, x: Tensor, in_place: bool = False) -> Tensor:
        """What a dropout makes of its input, for all samples of the pass; in place, it is the input that changes."""
        if self.neutral or strength(noise) == 0:
            return x
        with self._working(), _unwatched(x):
            out = self._dropped(name, noise, x)
        return x.copy_(out) if in_place and not self.keeps_inputs else out

    def _dropped(self, name: str, noise: Noise, x: Tensor) -> Tensor:
        site = self.site(name, x.shape)
        if x.numel() == 0:
            return x
        layout, shared = self._layout(site, x.shape)
        if not shared or not is_affine(noise):
            return self._each(site, noise, x, layout, shared)
        scale, shift = self.affine(site, noise, x, layout)
        wide = widened(x)
        if layout is None:
            scale, shift = scale[0], None if shift is None else shift[0]
        else:
            wide = layout.apart(wide, min(self.rows, x.shape[layout.dim]))
            scale, shift = layout.for_each_row(scale), None if shift is None else layout.for_each_row(shift)
        out = wide * scale if shift is None else torch.addcmul(shift, wide, scale)
        return (out if layout is None else layout.joined(out)).to(x.dtype)

    def affine(self, site: str, noise: Noise, x: Tensor, layout: Layout | None) -> tuple[Tensor, Tensor | None]:
        """Scale and shift of one row, (samples, *shape of one row) each: ``scale * x + shift``."""
        shape = tuple(x.shape) if layout is None else tuple(layout.of_one_row(x.shape))
        dtype = widened(x).dtype
        which = (site, shape, dtype, x.device, self.samples, strength(noise))
        if which not in self._kept:
            scales, shifts = zip(*(self._drawn(site, noise, shape, dtype, t) for t in self.samples), strict=True)
            scale = torch.stack(scales).to(x.device)
            shift = None if shifts[0] is None else torch.stack(shifts).to(x.device)
            if not self._store.has_room(scale, shift):
                return scale, shift
            self._kept[which] = self._store.put(scale), None if shift is None else self._store.put(shift)
        return self._kept[which]

    def _drawn(self, site: str, noise: Noise, shape: tuple[int, ...], dtype: torch.dtype, sample: int) -> Any:
        # on the CPU wherever the model is: the same networks on every device
        seed = self.key(site, sample)
        with torch.autocast("cpu", enabled=False):
            at_one = _called(noise, torch.ones(shape, dtype=dtype), seed)
            if noise.effect == "scale":
                return at_one, None
            shift = _called(noise, torch.zeros(shape, dtype=dtype), seed)
        return at_one - shift, shift

    def _each(self, site: str, noise: Noise, x: Tensor, layout: Layout | None, shared: bool) -> Tensor:
        """Sample by sample, as the dropout itself does it."""
        keys = [self.key(site, sample, shared) for sample in self.samples]
        if layout is None or len(keys) == 1:
            return _called(noise, x, keys[0], shared)
        apart = layout.apart(x, self.rows)
        parts = [
            apart.select(layout.dim, i if apart.shape[layout.dim] > 1 else 0).flatten(layout.dim, layout.dim + 1)
            for i in range(len(keys))
        ]
        return torch.cat(
            [_called(noise, part, key, shared) for part, key in zip(parts, keys, strict=True)],
            layout.dim,
        )

    def draw(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What one random operation within other code gives, for all samples of the pass."""
        draw = RandomOp(function, args, kwargs)
        if self.neutral:
            self.is_neutral &= draw.can_be_neutral
            self.is_normal &= draw.can_be_neutral or draw.is_normal
            return draw.neutral(self.neutral_kind)
        site = self.site("draw", draw.shape)
        self.inside += 1
        state = torch.default_generator.get_state()
        try:
            return self._drawn_as_called(site, draw)
        finally:  # a change would mean that something was drawn without being seen
            torch.default_generator.set_state(state)

    def _drawn_as_called(self, site: str, draw: RandomOp) -> Any:
        if not draw.is_entry_by_entry:
            self.as_called.add(site)
        layout, shared = self._layout(site, draw.shape)
        if layout is None:
            draw.seed(self.key(site, self.samples[0], shared))
            return draw.run()
        shape = layout.of_one_row(draw.shape)
        rows = min(self.rows, layout.rows(draw.shape))
        if not shared:
            shape[layout.dim] *= rows
        parts = []
        for sample in self.samples:
            draw.seed(self.key(site, sample, shared))
            part = draw.noise(shape)
            parts.append(layout.repeated(part, rows) if shared else part)
        return draw.given(torch.cat(parts, layout.dim))

    def note_read(self) -> None:
        """A tensor's numbers become a Python value."""
        self.read += not self._at_work

    def note_shaped(self) -> None:
        """A tensor's numbers become a shape."""
        self.shaped += not self._at_work

    @property
    def draws_itself(self) -> bool:
        """Whether a dropout's noise is being computed, from a generator of its own."""
        return self._at_work

    def drawing(self) -> AbstractContextManager[None]:
        """Take over all draws: by functional dropouts, and within torch's and others' own code."""
        return nullcontext() if self._watching else self._intercepted()

    @contextmanager
    def _intercepted(self) -> Iterator[None]:
        self._watching = True
        try:
            with intercepted(self):
                yield
        finally:
            self._watching = False

    @contextmanager
    def in_place_of(
        self, model: nn.Module, active: Collection[nn.Module], drawing: Collection[nn.Module] = ()
    ) -> Iterator[None]:
        """Let the model's active dropout modules be computed here; they are as before afterwards.

        Args:
            model: the model.
            active: modules that are in training mode.
            drawing: modules whose own code draws, in which all draws are taken over.
        """
        with ExitStack() as stack:
            for name, module in model.named_modules():
                if module not in active or self.native is not None:
                    continue
                if module in drawing and noise_of(module) is None and not isinstance(module, torch.jit.ScriptModule):
                    _replace(stack, module, partial(self._watched, module.forward))
                    continue
                if isinstance(module, Noise) and module.acts_on_weights:
                    if strength(module) > 0 and module.layer is not None:
                        _replace(stack, module, partial(self._weights_dropped, name, module))
                elif (noise := noise_of(module)) is not None and not isinstance(module, torch.jit.ScriptModule):
                    in_place = getattr(module, "inplace", False) is True
                    _replace(stack, module, partial(self._module_dropped, name, noise, module.forward, in_place))
            yield

    def _module_dropped(
        self, name: str, noise: Noise, forward: Callable[..., Any], in_place: bool, x: Any, *args: Any, **kwargs: Any
    ) -> Any:
        if transforms_are_active():
            return forward(x, *args, **kwargs)  # vmap draws as its randomness= says, in what is taken over
        return self.drop(name, noise, x, in_place, *args, **kwargs)

    def _watched(self, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with self.drawing():
            return forward(*args, **kwargs)

    def _weights_dropped(self, name: str, module: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        assert module.layer is not None
        if self.neutral:
            return module.layer(x, *args, **kwargs)  # type: ignore[no-any-return]
        site = self.site(name, next(module.layer.parameters()).shape)
        with self._working():  # its mask of the weights comes from its own generator, other noise of the layer does not
            return _called(module, x, self.key(site, self.samples[0], self.shared), False, *args, **kwargs)

    @contextmanager
    def _working(self) -> Iterator[None]:
        before, self._at_work = self._at_work, True
        try:
            yield
        finally:
            self._at_work = before


@contextmanager
def _unwatched(x: Tensor) -> Iterator[None]:
    """Modes see nothing of what is computed here, which is faster; they stay where `x` needs them."""
    if type(x) is not Tensor:
        yield
        return
    with without_any_mode():
        yield


def _replace(stack: ExitStack, module: nn.Module, forward: Callable[..., Any]) -> None:
    # a bound forward may stand there already, for instance of a library that wraps modules
    before = vars(module).get("forward")
    stack.callback(lambda: vars(module).pop("forward") if before is None else setattr(module, "forward", before))
    module.forward = forward


def _called(noise: Noise, x: Tensor, seed: int, shared: bool = False, *args: Any, **kwargs: Any) -> Tensor:
    """What a dropout gives for `x` when it draws from a generator with this seed."""
    attributes = vars(noise)
    before = {name: attributes[name] for name in _OF_A_DRAW if name in attributes}
    attributes.update(training=True, generator=_generator(x.device).manual_seed(seed), shared=shared)
    try:
        return type(noise).forward(noise, x, *args, **kwargs)  # type: ignore[no-any-return]
    finally:
        for name in _OF_A_DRAW:
            attributes.pop(name, None)
        attributes.update(before)


_OF_A_DRAW = ("training", "generator", "shared")


@cache
def _generator(device: torch.device) -> torch.Generator:
    return torch.Generator(device)
