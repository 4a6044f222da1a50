//! A stack of layers.

use burn::module::Module;
use burn::nn::Linear;
use burn_adapters_core::{Norm, Site, StackKind};
use burn_adapters_model::Pass;

use super::Normalization;
use super::attention::Bias;
use super::convolution::Convolution;
use super::disentangled::DistanceTable;
use super::layer::Layer;
use super::relative::RelativeBias;
use crate::LoadError;
use crate::plan::{NormPlan, StackPlan};
use crate::weights::Source;

/// Layers, and the norm after them.
#[derive(Module, Debug)]
pub(crate) struct Stack {
    layers: Vec<Layer>,
    relative: Option<RelativeBias>,
    distances: Option<DistanceTable>,
    convolution: Option<Convolution>,
    norm: Option<Normalization>,
    dropout: f64,
    #[module(skip)]
    kind: StackKind,
    /// The layer of each step.
    #[module(skip)]
    steps: Vec<usize>,
}

impl Stack {
    pub(crate) fn build(
        plan: &StackPlan,
        norm: Option<&NormPlan>,
        std: f64,
        source: &mut impl Source,
    ) -> Result<Self, LoadError> {
        Ok(Self {
            layers: (0..plan.layers)
                .map(|layer| Layer::build(plan.layer(layer), &plan.scope(layer), std, source))
                .collect::<Result<_, _>>()?,
            relative: (plan.relative.as_ref()).map(|plan| RelativeBias::build(plan, std, source)).transpose()?,
            distances: (plan.distances.as_ref()).map(|plan| DistanceTable::build(plan, std, source)).transpose()?,
            convolution: (plan.convolution.as_ref()).map(|plan| Convolution::build(plan, std, source)).transpose()?,
            norm: norm.map(|norm| Normalization::build(norm, "", source)).transpose()?,
            dropout: plan.dropout,
            kind: plan.kind,
            steps: plan.steps(),
        })
    }

    /// Runs the layers and the norm on the states of the pass.
    pub(crate) fn run(&self, pass: &mut Pass<'_>) {
        let bias = self.relative.as_ref().map(|relative| relative.shared());
        let distances = self.distances.as_ref().map(DistanceTable::shared);
        pass.layers(self.kind, self.steps.iter().copied(), |layer, hidden| {
            let bias = match (&bias, &distances) {
                (Some(bias), _) => Some(Bias::Shared(bias)),
                (None, distances) => distances.as_ref().map(Bias::Disentangled),
            };
            let convolution = self.convolution.as_ref().filter(|_| layer.index() == 0);
            let input = convolution.map(|_| hidden.clone());
            let output = self.layers[layer.index()].forward(layer, hidden, bias, self.layers.last());
            match (convolution, input) {
                (Some(convolution), Some(input)) => convolution.forward(layer, input, output),
                _ => output,
            }
        });
        if let Some(norm) = &self.norm {
            pass.map(|hidden| norm.norm(hidden));
        }
        if self.dropout > 0.0 {
            pass.dropout_states(self.dropout);
        }
    }

    /// The matrix at a site.
    pub(crate) fn linear(&self, site: Site) -> Option<&Linear> {
        self.layers.get(site.layer).filter(|_| site.stack == self.kind)?.linear(site.place)
    }

    /// The matrix at a site, to change.
    pub(crate) fn linear_mut(&mut self, site: Site) -> Option<&mut Linear> {
        self.layers.get_mut(site.layer).filter(|_| site.stack == self.kind)?.linear_mut(site.place)
    }
}
