"""The three kinds of opened model: built from a layout, traced from a module, and a file with tensors only.

All three have the fields `name`, `state`, `classes`, `source` and `imgsz`, the properties `layout`, `graph` and
`outline`, and the method `network`. Only a `LayoutModel` has a layout; the others raise EffscopeError there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from effscope.config.image_size import IMAGE_CHANNELS, ImageSize
from effscope.errors import EffscopeError
from effscope.layouts.expand import expand, outline
from effscope.spec.graph import Graph
from effscope.spec.layout import Layout
from effscope.spec.outline import Outline

if TYPE_CHECKING:
    from torch.nn import Module

    from effscope.nn.build import Network
    from effscope.tracing.importer import Imported
    from effscope.tracing.inputs import Inputs


@dataclass(frozen=True)
class LayoutModel:
    """A model built from a layout.

    Attributes:
        name: name in tables.
        layout: the layout.
        state: state dict, or None if it has no weights.
        classes: class names, or None if they are not known.
        source: one line: which file was read and how.
        imgsz: image side of the training in px, or None if it is not known.
        notes: what was assumed about the name, one line each.
    """

    name: str
    layout: Layout
    state: Mapping[str, Any] | None = field(default=None, repr=False)
    classes: tuple[str, ...] | None = None
    source: str = ""
    imgsz: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def graph(self) -> Graph:
        """The nodes of the layout."""
        return expand(self.layout)

    @property
    def outline(self) -> Outline:
        """The names of the graph's layers and stages."""
        rows = outline(self.layout)
        return replace(rows, notes=(*rows.notes, *self.notes)) if self.notes else rows

    def network(self, seed: int = 0) -> Network:
        """Build the network and load the weights; without weights, initialise it from the seed.

        Raises:
            EffscopeError: a tensor of the state is missing or has another shape.
        """
        from effscope.nn.build import build  # noqa: PLC0415 - torch only when it is needed
        from effscope.nn.inherit import load_state  # noqa: PLC0415

        network = build(self.graph, seed)
        if self.state is not None:
            load_state(network, self.state, self.name)
        return network


class _WithoutLayout:
    """A model without a layout: `layout` and `network` raise an EffscopeError with the reason."""

    name: str
    why: str

    @property
    def layout(self) -> Layout:
        """Raises EffscopeError."""
        raise self._error()

    def network(self, seed: int = 0) -> Network:
        """Raises EffscopeError."""
        raise self._error()

    def _error(self) -> EffscopeError:
        return EffscopeError(f"{self.name} can only be counted and ranked: {self.why}")


@dataclass(frozen=True)
class TracedModel(_WithoutLayout):
    """A torch module, traced to a graph.

    Attributes:
        name: name in tables.
        module: the torch module.
        imported: its trace: graph, outline, and the tensors that are not in its state dict.
        size: size of the input of the trace.
        shape: its shape.
        state: state dict of the module, or None if its weights are untrained.
        source: one line: what was traced.
        classes: None, because a module has no class names.
        why: why there is no layout.
        inputs: the arguments of the trace, if the user gave them; else None.
    """

    name: str
    module: Module = field(repr=False)
    imported: Imported = field(repr=False)
    size: ImageSize
    shape: tuple[int, ...]
    state: Mapping[str, Any] | None = field(default=None, repr=False)
    source: str = ""
    classes: tuple[str, ...] | None = None
    why: str = "it is traced, not built from blocks"
    inputs: Inputs | None = field(default=None, repr=False)

    @property
    def imgsz(self) -> int | None:
        """Side of the image in px; None if the input is no square image."""
        return self.size if isinstance(self.size, int) else None

    @property
    def graph(self) -> Graph:
        """The traced operations."""
        return self.imported.graph

    @property
    def outline(self) -> Outline:
        """The names of the graph's layers and stages."""
        return self.imported.outline


@dataclass(frozen=True)
class TensorFile(_WithoutLayout):
    """A weights file of an unknown architecture: its tensors can be counted and ranked, not run.

    Attributes:
        name: name in tables.
        state: state dict.
        graph: one node for each convolution, norm or other tensor, without views.
        outline: the names of the graph's layers.
        why: why the architecture is not known.
        classes: class names, or None if the file does not have them.
        source: one line: which file was read and how.
        imgsz: None, because it is not known.
        rank_notes: what the file does not tell about ranks.
    """

    name: str
    state: Mapping[str, Any] = field(repr=False)
    graph: Graph = field(repr=False)
    outline: Outline = field(repr=False)
    why: str
    classes: tuple[str, ...] | None = None
    source: str = ""
    imgsz: int | None = None
    rank_notes: tuple[str, ...] = ()


def colour_model(model: Model) -> Model:
    """The model itself, if it takes colour images, as training and evaluation do.

    Raises:
        EffscopeError: it takes images with other channels.
    """
    if isinstance(model, LayoutModel) and model.layout.ch != IMAGE_CHANNELS:
        raise EffscopeError(
            f"{model.name} takes images with {model.layout.ch} channels: it can be counted, ranked and timed; "
            "data sets are read as colour images"
        )
    return model


Model = LayoutModel | TracedModel | TensorFile
