//! The skeleton of encoders, decoders and encoder-decoders: embeddings, one stack of layers or two, a pooler.

use burn::module::Module;
use burn::nn::{Embedding, Linear};
use burn::tensor::{Device, Tensor};
use burn_adapters_core::{Site, dense_weight, project};
use burn_adapters_model::{DecoderStart, Pass};

use crate::LoadError;
use crate::blocks::{Added, Embeddings, Output, Stack};
use crate::plan::{DecoderPlan, ModelPlan, OutputPlan};
use crate::weights::Source;

/// A model of one stack, or of an encoder and a decoder.
#[derive(Module, Debug)]
pub(crate) struct Skeleton {
    embeddings: Embeddings,
    stack: Stack,
    decoder: Option<Decoder>,
    pooler: Option<Linear>,
    output: Option<Output>,
}

/// The decoder of an encoder-decoder model.
#[derive(Module, Debug)]
struct Decoder {
    /// Its word embeddings, if they are not the encoder's.
    words: Option<Embedding>,
    embeddings: Added,
    /// The layer over the encoder's states, if their width is another.
    bridge: Option<Linear>,
    stack: Stack,
    #[module(skip)]
    start: DecoderStart,
}

impl Decoder {
    fn build(plan: &DecoderPlan, std: f64, source: &mut impl Source) -> Result<Self, LoadError> {
        let DecoderPlan { own, embeddings, stack, norm, start } = plan;
        let bridge = own.as_ref().and_then(|own| own.bridge.as_ref());
        let bridge = bridge.map(|bridge| source.linear(bridge, "", std)).transpose()?;
        let mut source = source.scoped(own.as_ref().map_or("", |own| &own.scope));
        let mut words = || source.words(&embeddings.words, std);
        Ok(Self {
            words: own.is_some().then(&mut words).transpose()?,
            embeddings: Added::build(embeddings, std, &mut source)?,
            bridge,
            stack: Stack::build(stack, norm.as_ref(), std, &mut source)?,
            start: *start,
        })
    }
}

impl Skeleton {
    /// The model from any source of weights. The names are those of Hugging Face's files.
    pub(crate) fn build(plan: &ModelPlan, source: &mut impl Source) -> Result<Self, LoadError> {
        let std = plan.initializer_range;
        let pooler = plan.pooler.as_ref();
        let pooler = pooler.map(|pooler| source.linear(pooler, "", std)).transpose()?;
        let vocabulary = plan.decoder_limits().vocabulary;
        let build = |output: &OutputPlan| Output::build(output, vocabulary, std, &mut source.scoped(output.scope));
        let output = plan.output.as_ref().map(build).transpose()?;
        let decoder = plan.decoder.as_ref().map(|decoder| Decoder::build(decoder, std, source)).transpose()?;
        let mut source = source.scoped(&plan.scope);
        Ok(Self {
            embeddings: Embeddings::build(&plan.embeddings, std, &mut source)?,
            stack: Stack::build(&plan.stack, plan.norm.as_ref(), std, &mut source)?,
            decoder,
            pooler,
            output,
        })
    }

    pub(crate) fn device(&self) -> Device {
        self.embeddings.device()
    }

    pub(crate) fn has_pooler(&self) -> bool {
        self.pooler.is_some()
    }

    pub(crate) fn has_output(&self) -> bool {
        self.output.is_some()
    }

    /// The states that the matrix of the output layer reads: `[positions, embedding]`.
    pub(crate) fn output_states(&self, hidden: Tensor<2>) -> Tensor<2> {
        match &self.output {
            Some(output) => output.before(hidden),
            None => hidden,
        }
    }

    /// The logits of the output layer, from these states: `[positions, vocabulary]`.
    pub(crate) fn logits(&self, states: Tensor<2>) -> Option<Tensor<2>> {
        let words = self.decoder.as_ref().and_then(|decoder| decoder.words.as_ref());
        Some(self.output.as_ref()?.forward(words.unwrap_or(self.embeddings.words()), states))
    }

    /// The skeleton with the table of word embeddings in bf16, if it is the matrix of a language model's output layer.
    pub(crate) fn with_output_in_bf16(mut self) -> Self {
        let has_own = self.decoder.as_ref().is_some_and(|decoder| decoder.words.is_some());
        if !has_own && self.output.as_ref().is_some_and(Output::reads_words) {
            self.embeddings = self.embeddings.with_words_in_bf16();
        }
        self
    }

    /// The table of word embeddings: `[vocabulary, embedding]`.
    pub(crate) fn word_table(&self) -> Tensor<2> {
        dense_weight(&self.embeddings.words().weight)
    }

    pub(crate) fn run(&self, pass: &mut Pass<'_>) {
        if self.decoder.is_none() || !pass.continues() {
            pass.embeddings(self.embeddings.forward(pass));
            pass.map(|embeddings| self.embeddings.project(embeddings));
            if self.embeddings.late_dropout() > 0.0 {
                pass.dropout_states(self.embeddings.late_dropout());
            }
            self.stack.run(pass);
        }
        if let Some(Decoder { words, embeddings, bridge, stack, start }) = &self.decoder {
            if let Some(bridge) = bridge {
                pass.map(|states| project(bridge, states));
            }
            let words = words.as_ref().unwrap_or(self.embeddings.words());
            pass.decode(*start, |pass| embeddings.forward(words, pass));
            stack.run(pass);
        }
        if let Some(pooler) = &self.pooler {
            pass.pool(|first| project(pooler, first).tanh());
        }
    }

    /// The matrix at a site.
    pub(crate) fn linear(&self, site: Site) -> Option<&Linear> {
        self.stack.linear(site).or_else(|| self.decoder.as_ref()?.stack.linear(site))
    }

    /// The matrix at a site, to change.
    pub(crate) fn linear_mut(&mut self, site: Site) -> Option<&mut Linear> {
        match self.stack.linear_mut(site) {
            Some(linear) => Some(linear),
            None => self.decoder.as_mut()?.stack.linear_mut(site),
        }
    }
}
