//! The skeleton of encoders and decoders: embeddings, one stack of layers, a final norm, a pooler.

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Device, Tensor};
use burn_adapters_core::{Norm, Site, StackKind, project};
use burn_adapters_model::Pass;

use crate::LoadError;
use crate::blocks::{Embeddings, Layer, Normalization};
use crate::plan::ModelPlan;
use crate::weights::Source;

/// A model of one stack.
#[derive(Module, Debug)]
pub(crate) struct Skeleton {
    embeddings: Embeddings,
    layers: Vec<Layer>,
    norm: Option<Normalization>,
    pooler: Option<Linear>,
    #[module(skip)]
    kind: StackKind,
}

impl Skeleton {
    /// The model from any source of weights. The names are those of Hugging Face's files.
    pub(crate) fn build(plan: &ModelPlan, source: &mut impl Source) -> Result<Self, LoadError> {
        let std = plan.initializer_range;
        let pooler = plan.pooler.as_ref();
        let pooler = pooler.map(|pooler| source.linear(pooler, "", std)).transpose()?;
        let stack = &plan.stack;
        Ok(Self {
            embeddings: Embeddings::build(&plan.embeddings, std, source)?,
            layers: (0..stack.layers)
                .map(|layer| Layer::build(&stack.layer, &format!("{}.{layer}.", stack.name), std, source))
                .collect::<Result<_, _>>()?,
            norm: plan.norm.as_ref().map(|norm| Normalization::build(norm, "", source)).transpose()?,
            pooler,
            kind: stack.kind,
        })
    }

    pub(crate) fn device(&self) -> Device {
        self.embeddings.device()
    }

    pub(crate) fn has_pooler(&self) -> bool {
        self.pooler.is_some()
    }

    /// The word embeddings of tokens: `[tokens, embedding]`.
    pub(crate) fn of_words(&self, ids: &[u32]) -> Tensor<2> {
        self.embeddings.of_words(ids)
    }

    pub(crate) fn run(&self, pass: &mut Pass<'_>) {
        pass.embeddings(self.embeddings.forward(pass));
        pass.map(|embeddings| self.embeddings.project(embeddings));
        pass.layers(self.kind, 0..self.layers.len(), |layer, hidden| self.layers[layer.index()].forward(layer, hidden));
        if let Some(norm) = &self.norm {
            pass.map(|hidden| norm.norm(hidden));
        }
        if let Some(pooler) = &self.pooler {
            pass.pool(|first| project(pooler, first).tanh());
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
