//! Training and evaluation.

use std::error::Error;

use burn_adapters_composition::Composition;
use burn_adapters_fusion::FusionConfig;
use burn_adapters_model::{AdapterBank, Setup};
use burn_adapters_train::{TokenData, TrainConfig, Trainer, evaluate};
use burn_adapters_transformers::AutoModel;

use super::common::progress::Progress;
use super::common::{OfKind, head};
use super::data::Sentences;

/// The adapters: a bottleneck after each feed-forward block (Pfeiffer et al.), a sixteenth as wide as the model.
pub(crate) const ADAPTER: &str = "seq_bn";

/// The initial learning rate of the adapters; it decreases linearly to 0.
pub(crate) const ADAPTER_LEARNING_RATE: f64 = 1e-3;

/// The number of sentences per batch.
pub(crate) const BATCH_SIZE: usize = 32;

/// The training options.
pub(crate) struct Options {
    pub(crate) epochs: usize,
    pub(crate) seed: u64,
    pub(crate) fusion_learning_rate: f64,
}

/// The frozen base, and everything that is trained beside it.
pub(crate) struct Work<'a> {
    pub(crate) base: &'a AutoModel,
    pub(crate) bank: AdapterBank,
    pub(crate) options: Options,
    pub(crate) progress: &'a mut Progress,
}

impl Work<'_> {
    /// Trains an adapter and its head. All start from the same parameters, so that averages of their parameters are
    /// meaningful.
    pub(crate) fn adapter(&mut self, name: &str, data: &TokenData) -> Result<(), Box<dyn Error>> {
        self.bank.add_seeded(name, ADAPTER.parse()?, self.options.seed)?;
        self.bank.add_head_seeded(name, &head(), self.options.seed)?;
        self.train(&format!("adapter {name}"), &Setup::adapter(name), ADAPTER_LEARNING_RATE, data)
    }

    /// Trains a fusion over frozen adapters with a new head; returns its setup.
    pub(crate) fn fusion(
        &mut self,
        name: &str,
        adapters: &[String],
        data: &TokenData,
    ) -> Result<Setup, Box<dyn Error>> {
        let fused: Vec<&str> = adapters.iter().map(String::as_str).collect();
        self.bank.add_fusion(name, &fused, &FusionConfig::dynamic(), self.options.seed)?;
        self.bank.add_head_seeded(name, &head(), self.options.seed)?;
        let setup = Setup::compose(Composition::fuse(adapters.iter()).named(name)).with_head(name);
        let learning_rate = self.options.fusion_learning_rate;
        self.train(&format!("fusion {name}"), &setup.clone().train_fusions(), learning_rate, data)?;
        Ok(setup)
    }

    fn train(&mut self, what: &str, setup: &Setup, learning_rate: f64, data: &TokenData) -> Result<(), Box<dyn Error>> {
        let config = TrainConfig::new()
            .with_epochs(self.options.epochs)
            .with_batch_size(BATCH_SIZE)
            .with_learning_rate(learning_rate)
            .with_seed(self.options.seed);
        self.progress.name(what);
        let trained = Trainer::new(config).train(self.base, self.bank.clone(), setup, data, None, self.progress)?;
        self.bank = trained.bank;
        let result = format!("{} sentences, loss {:.4} in the end", data.len(), self.progress.loss());
        self.progress.done(&result);
        Ok(())
    }

    /// The accuracy of a setup on a kind's held-out sentences.
    pub(crate) fn accuracy(&self, setup: &Setup, kind: &OfKind) -> Result<f64, Box<dyn Error>> {
        let evaluation = evaluate(self.base, &self.bank, setup, &kind.held_out, 64)?;
        Ok(evaluation.accuracy().unwrap_or_default())
    }

    /// The same for every kind.
    pub(crate) fn accuracies(&self, setup: &Setup, sentences: &Sentences) -> Result<Vec<f64>, Box<dyn Error>> {
        sentences.kinds.iter().map(|kind| self.accuracy(setup, kind)).collect()
    }
}
