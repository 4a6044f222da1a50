//! Plans of stacks of layers.

use std::collections::BTreeMap;

use burn_adapters_core::{Activation, Place, StackKind, StackSpec};

use super::{LayerPlan, NormPlan, TablePlan};

/// A stack of layers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StackPlan {
    pub(crate) kind: StackKind,
    /// The layers' name: layer 0 is `NAME.0`.
    pub(crate) name: &'static str,
    pub(crate) layers: usize,
    pub(crate) layer: LayerPlan,
    /// The layers that differ from it: in what their attention sees, in their norms, never in sizes.
    pub(crate) different: BTreeMap<usize, LayerPlan>,
    /// Where layers are computed more than once.
    pub(crate) sharing: Option<Sharing>,
    /// A bias on the scores of self-attention, shared by the layers.
    pub(crate) relative: Option<RelativePlan>,
    /// The table of distances that the layers' queries and keys are compared with.
    pub(crate) distances: Option<DistancesPlan>,
    /// A convolution over the embeddings, which is added to the output of the first layer.
    pub(crate) convolution: Option<ConvolutionPlan>,
    /// Dropout after the norm that follows the last layer.
    pub(crate) dropout: f64,
}

/// Layers in groups, which a pass repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sharing {
    /// The number of layers in a group: in the layers' name, `{}` stands for the number of the group.
    pub(crate) layers_per_group: usize,
    /// The layer of each step of a pass.
    pub(crate) steps: Vec<usize>,
}

/// Biases of attention scores by the distance of two positions (Raffel et al., 2020).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RelativePlan {
    /// Its table: `[buckets, heads]`.
    pub(crate) table: TablePlan,
    /// The distance from which on there is one bucket.
    pub(crate) max_distance: usize,
    /// Whether keys before and after a query have buckets of their own; otherwise all keys after it have that of
    /// distance 0.
    pub(crate) both_sides: bool,
}

/// Embeddings of the distances of positions (He et al., 2021).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DistancesPlan {
    /// `[2 · buckets, hidden]`: those of one side, and those of the other.
    pub(crate) table: TablePlan,
    /// The number of positions that buckets of logarithmic width cover; without it each has one distance.
    pub(crate) logarithmic: Option<usize>,
    pub(crate) norm: Option<NormPlan>,
    /// Dropout on the table, in each layer.
    pub(crate) dropout: f64,
}

/// A convolution over the embeddings of neighboring positions: `norm(output + activation(convolution(embeddings)))`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ConvolutionPlan {
    pub(crate) name: &'static str,
    pub(crate) hidden: usize,
    /// The number of positions; odd.
    pub(crate) kernel: usize,
    pub(crate) groups: usize,
    pub(crate) activation: Activation,
    pub(crate) norm: NormPlan,
    /// Dropout before the activation.
    pub(crate) dropout: f64,
}

impl StackPlan {
    /// Layers `NAME.0`, `NAME.1`, ….
    pub(crate) fn new(kind: StackKind, name: &'static str, layers: usize, layer: LayerPlan) -> Self {
        Self {
            kind,
            name,
            layers,
            layer,
            different: BTreeMap::new(),
            sharing: None,
            relative: None,
            distances: None,
            convolution: None,
            dropout: 0.0,
        }
    }
}

impl StackPlan {
    /// Changes some of the layers.
    pub(crate) fn change(&mut self, layers: impl IntoIterator<Item = usize>, change: impl Fn(&mut LayerPlan)) {
        for layer in layers {
            change(self.different.entry(layer).or_insert_with(|| self.layer.clone()));
        }
    }

    /// The plan of a layer.
    pub(crate) fn layer(&self, layer: usize) -> &LayerPlan {
        self.different.get(&layer).unwrap_or(&self.layer)
    }

    /// The name of a layer, with a dot after it.
    pub(crate) fn scope(&self, layer: usize) -> String {
        match &self.sharing {
            None => format!("{}.{layer}.", self.name),
            Some(Sharing { layers_per_group, .. }) => {
                let group = layer / layers_per_group.max(&1);
                format!("{}.{}.", self.name.replace("{}", &group.to_string()), layer % layers_per_group.max(&1))
            }
        }
    }

    /// The layer of each step of a pass.
    pub(crate) fn steps(&self) -> Vec<usize> {
        match &self.sharing {
            None => (0..self.layers).collect(),
            Some(sharing) => sharing.steps.clone(),
        }
    }

    /// The stack in the specification for adapters.
    pub(super) fn spec(&self) -> StackSpec {
        let LayerPlan { hidden, attention, cross, feed_forward, .. } = &self.layer;
        let heads = attention.key_value_heads.max(1);
        let [_, keys] = attention.key.size;
        let mut linears = vec![
            (Place::Query, &attention.query),
            (Place::Key, &attention.key),
            (Place::Value, &attention.value),
            (Place::AttentionOutput, &attention.output),
        ];
        let mut sublayers = vec![Place::Attention];
        let mut attentions = vec![Place::Attention];
        if let Some((cross, _)) = cross {
            if cross.is_adapted {
                linears.extend([
                    (Place::CrossQuery, &cross.query),
                    (Place::CrossKey, &cross.key),
                    (Place::CrossValue, &cross.value),
                    (Place::CrossAttentionOutput, &cross.output),
                ]);
                sublayers.push(Place::CrossAttention);
            }
            attentions.push(Place::CrossAttention);
        }
        linears.extend(feed_forward.gate.iter().map(|gate| (Place::FeedForwardGate, gate)));
        linears.extend([(Place::FeedForwardUp, &feed_forward.up), (Place::FeedForwardDown, &feed_forward.down)]);
        sublayers.push(Place::FeedForward);
        let late_biases = attention.late_biases.map(|_| [Place::Query, Place::Value]).into_iter().flatten();
        let biased = linears.iter().filter(|(_, plan)| plan.bias).map(|(place, _)| *place);
        let layers = || (0..self.layers).map(|layer| &self.layer(layer).attention);
        // Of all layers, or of none.
        let rotary: Option<Vec<_>> = layers().map(|attention| attention.rotary.clone()).collect();
        StackSpec {
            kind: self.kind,
            layers: self.layers,
            hidden_size: *hidden,
            key_value_heads: heads,
            head_dim: keys / heads,
            biases: biased.chain(late_biases).collect(),
            matrices: linears.iter().map(|(place, plan)| (*place, plan.size)).collect(),
            sublayers,
            sublayer_end: self.layer.order.sublayer_end(),
            attentions,
            rotary: rotary.unwrap_or_default(),
            has_windows: layers().any(|attention| attention.window.is_some() || attention.reach.is_some()),
            intermediate: feed_forward.adapted[0],
            output: feed_forward.adapted[1],
        }
    }
}
