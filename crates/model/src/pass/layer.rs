//! One layer of a pass.

use std::cell::Cell;

use burn::nn::Linear;
use burn::tensor::{Bool, Tensor};
use burn_adapters_core::{Norm, Place, Site, StackKind, TokenSpan};

use super::cached::{Cached, SeparateRow};
use super::mask::{Mask, SharedByLayers};
use super::memory::Memory;
use super::packing::Packing;
use crate::{ActiveHooks, AroundProjection};

/// A layer's view of the pass: the hooks of its sites, and attention.
///
/// Hidden states are `[rows, positions, hidden]`. The pass decides what rows and positions are: in a batch without
/// padding, each position is a separate row. A layer must not reshape them.
pub struct LayerPass<'l> {
    pub(super) hooks: &'l ActiveHooks<'l>,
    pub(super) packing: Option<&'l Packing<'l>>,
    pub(super) mask: &'l Mask,
    pub(super) shared: &'l SharedByLayers,
    pub(super) memory: Option<&'l Memory>,
    pub(super) cached: Option<&'l Cached>,
    /// The rows of a batch whose rows have caches of their own; otherwise empty.
    pub(super) separate: &'l [SeparateRow<'l>],
    /// The step of the stack; several may run the same layer.
    pub(super) step: usize,
    pub(super) stack: StackKind,
    pub(super) layer: usize,
    pub(super) first_only: bool,
    pub(super) tokens: &'l [TokenSpan],
    /// Whether the layer's interventions have been applied.
    pub(super) intervened: Cell<bool>,
}

impl LayerPass<'_> {
    /// The number of the layer, from 0.
    pub fn index(&self) -> usize {
        self.layer
    }

    /// The site at a place of this layer.
    pub fn site(&self, place: Place) -> Site {
        Site::new(self.stack, self.layer, place)
    }

    /// The positions that the rest of the layer must compute, from the queries on: all of them, or only the first of
    /// each row if the others are not read. Calling it is optional; it saves time in the last layer. Keys and values
    /// need every position.
    pub fn read_positions(&self, hidden: Tensor<3>) -> Tensor<3> {
        match self.packing {
            _ if !self.first_only => hidden,
            Some(packing) if packing.is_by_row(&hidden) => hidden,
            Some(packing) => packing.first(hidden),
            None => hidden.narrow(1, 0, 1),
        }
    }

    /// Applies a matrix, with the adapters at its site.
    ///
    /// # Shapes
    /// - input: `[rows, positions, d_input]`
    /// - output: `[rows, positions, d_output]`
    pub fn linear(&self, place: Place, linear: &Linear, input: Tensor<3>) -> Tensor<3> {
        self.hooks_of(&input).linear(self.site(place), linear, input)
    }

    /// Applies a matrix to states that all rows share, with the adapters at its site. If the adapters of rows differ,
    /// the output has an entry for each row.
    ///
    /// # Shapes
    /// - states: `[1, positions, d_input]`
    /// - output: `[1 or rows, positions, d_output]`
    pub fn shared_linear(&self, place: Place, linear: &Linear, states: Tensor<3>, rows: usize) -> Tensor<3> {
        self.hooks.shared_linear(self.site(place), linear, states, rows)
    }

    /// Ends a sublayer: `norm(hidden + residual)`, with the adapters there.
    ///
    /// # Shapes
    /// - hidden (the sublayer's output), residual (its input), output: `[rows, positions, hidden]`
    pub fn sublayer(&self, place: Place, hidden: Tensor<3>, residual: Tensor<3>, norm: Option<&dyn Norm>) -> Tensor<3> {
        self.hooks_of(&hidden).sublayer(self.site(place), hidden, residual, norm)
    }

    /// Adapts the output of a sublayer's last matrix, in models that add their residual themselves.
    ///
    /// # Shapes
    /// - hidden (the output of the matrix), output: `[rows, positions, hidden]`
    pub fn projected(&self, place: Place, hidden: Tensor<3>, around: AroundProjection<'_>) -> Tensor<3> {
        self.hooks_of(&hidden).projected(self.site(place), hidden, around)
    }

    /// The states of the encoder, which cross-attention computes keys and values from: `[rows, positions, hidden]`.
    /// `None` in a model of one stack, and in the encoder.
    pub fn encoded(&self) -> Option<Tensor<3>> {
        self.memory.map(|memory| memory.hidden.clone())
    }

    /// The keys and values of cross-attention. With a [cache](crate::KvCache), only the first pass computes them.
    ///
    /// # Shapes
    /// - output: `[rows, positions of the encoder, key-value heads · head]` each
    pub fn of_encoder(&self, compute: impl FnOnce() -> [Tensor<3>; 2]) -> [Tensor<3>; 2] {
        match self.cached {
            Some(cached) => cached.of_encoder(self.step, compute),
            None => compute(),
        }
    }

    /// The model's own dropout: on in training, unless the setup turns it off.
    pub fn dropout<const D: usize>(&self, probability: f64, x: Tensor<D>) -> Tensor<D> {
        self.hooks.dropout(probability, x)
    }

    /// True where a key is padding: `[rows, 1, 1, keys]`; `None` without padding. For a model's own attention, which
    /// must not run on a batch without padding: only [`attention`](Self::attention) supports that.
    pub fn padding_mask(&self) -> Option<Tensor<4, Bool>> {
        self.mask.tensor()
    }

    /// Whether every adapter treats each position independently, once keys and values are computed.
    pub fn is_positionwise(&self) -> bool {
        self.hooks.is_positionwise()
    }

    /// Hidden states with padding, of a batch from which it was taken; others are unchanged.
    ///
    /// # Shapes
    /// - output: `[rows, sequence, hidden]`, with zeros for padding; or `[rows, read positions, hidden]`
    pub fn padded(&self, hidden: Tensor<3>) -> Tensor<3> {
        match self.packing {
            Some(packing) if !packing.is_by_row(&hidden) => packing.unpack(hidden),
            _ => hidden,
        }
    }

    /// The reverse of [`padded`](Self::padded), for states of all positions.
    pub fn packed(&self, padded: Tensor<3>) -> Tensor<3> {
        match self.packing {
            Some(packing) => packing.pack(padded),
            None => padded,
        }
    }

    /// Sets the states of padding to 0, in [padded](Self::padded) states of all positions.
    pub fn without_padding(&self, hidden: Tensor<3>) -> Tensor<3> {
        let [rows, positions, _] = hidden.dims();
        match self.mask.tensor() {
            Some(mask) if mask.dims() == [rows, 1, 1, positions] => {
                hidden * mask.bool_not().float().reshape([rows, positions, 1])
            }
            _ => hidden,
        }
    }

    /// Applies the layer's interventions (ReFT) to its output. They follow the layer anyway; a model calls this where
    /// it changes the output further.
    pub fn intervene(&self, hidden: Tensor<3>) -> Tensor<3> {
        let [_, positions, _] = hidden.dims();
        if self.packing.is_some() || (self.first_only && positions == 1) || self.intervened.replace(true) {
            return hidden;
        }
        self.hooks.layer(self.site(Place::Layer), hidden, self.tokens)
    }

    /// The hooks for hidden states: by row of the batch, or by position.
    pub(super) fn hooks_of(&self, x: &Tensor<3>) -> &ActiveHooks<'_> {
        match self.packing {
            Some(packing) if !packing.is_by_row(x) => &packing.hooks,
            _ => self.hooks,
        }
    }
}
