//! Training and evaluation.

use std::error::Error;

use burn_adapters_composition::Composition;
use burn_adapters_heads::HeadConfig;
use burn_adapters_model::{AdapterBank, BaseModel, Setup};
use burn_adapters_train::{Dataset, TokenData, TrainConfig, Trainer, evaluate};
use burn_adapters_transformers::{AutoModel, Tokenizer};

use super::Arguments;
use super::common::progress::Progress;
use super::common::{MAX_LENGTH, OfKind, head};
use super::data::Domains;

/// The language adapters: a bottleneck after each feed-forward block, and an invertible adapter at the embeddings.
pub(crate) const LANGUAGE: &str = "seq_bn_inv[reduction_factor=2]";

/// The task adapters.
pub(crate) const TASK: &str = "seq_bn";

/// The initial learning rate; it decreases linearly to 0.
pub(crate) const LEARNING_RATE: f64 = 1e-3;

/// The number of sentences per batch.
pub(crate) const BATCH_SIZE: usize = 32;

/// The frozen base, and everything that is trained beside it.
pub(crate) struct Work<'a> {
    pub(crate) base: &'a AutoModel,
    pub(crate) bank: AdapterBank,
    pub(crate) tokenizer: &'a Tokenizer,
    pub(crate) arguments: &'a Arguments,
    pub(crate) progress: &'a mut Progress,
}

impl Work<'_> {
    /// Trains the language adapter of a domain; returns its setup.
    pub(crate) fn language(&mut self, domain: &OfKind) -> Result<Setup, Box<dyn Error>> {
        let (name, seed) = (domain.kind.id(), self.arguments.seed);
        self.bank.add_seeded(name, LANGUAGE.parse()?, seed)?;
        // The last layer is the model's table of word embeddings, where the two are tied.
        self.bank.add_head_seeded(name, &self.head(), seed)?;
        self.bank.tie_heads(self.base)?;
        let setup = Setup::adapter(name);
        let data = self.masked(&domain.plain[0])?;
        self.train(&format!("language adapter {name}"), &setup, self.arguments.language_epochs, &data)?;
        Ok(setup)
    }

    /// The head of a language adapter.
    fn head(&self) -> HeadConfig {
        HeadConfig::masked_lm(self.base.limits().vocabulary)
    }

    /// Sentences with masked tokens; training masks others in each epoch.
    fn masked(&self, data: &Dataset) -> Result<TokenData, Box<dyn Error>> {
        Ok(TokenData::tokenize(data, &self.head(), self.tokenizer, MAX_LENGTH.min(self.tokenizer.max_length()))?)
    }

    /// Trains a task adapter on a domain's labeled sentences, stacked on a frozen language adapter if there is one;
    /// returns its setup.
    pub(crate) fn task(
        &mut self,
        name: &str,
        language: Option<&OfKind>,
        domain: &OfKind,
    ) -> Result<Setup, Box<dyn Error>> {
        self.bank.add_seeded(name, TASK.parse()?, self.arguments.seed)?;
        self.bank.add_head_seeded(name, &head(), self.arguments.seed)?;
        let setup = match language {
            Some(language) => Setup::compose(Composition::stack([language.kind.id(), name])),
            None => Setup::adapter(name),
        };
        let training = setup.clone().training_only([name]);
        self.train(&format!("task adapter {name}"), &training, self.arguments.epochs, &domain.train)?;
        Ok(setup)
    }

    fn train(&mut self, what: &str, setup: &Setup, epochs: usize, data: &TokenData) -> Result<(), Box<dyn Error>> {
        let config = TrainConfig::new()
            .with_epochs(epochs)
            .with_batch_size(BATCH_SIZE)
            .with_learning_rate(LEARNING_RATE)
            .with_seed(self.arguments.seed);
        self.progress.name(what);
        let trained = Trainer::new(config).train(self.base, self.bank.clone(), setup, data, None, self.progress)?;
        self.bank = trained.bank;
        self.finish(data);
        Ok(())
    }

    fn finish(&mut self, data: &TokenData) {
        self.progress.done(&format!("{} sentences, loss {:.4} in the end", data.len(), self.progress.loss()));
    }

    /// The masked-language-modeling loss of a setup on each domain's held-out sentences.
    pub(crate) fn losses(&self, setup: &Setup, domains: &Domains) -> Result<Vec<f64>, Box<dyn Error>> {
        let loss =
            |domain: &OfKind| Ok(evaluate(self.base, &self.bank, setup, &self.masked(&domain.plain[1])?, 64)?.loss);
        domains.all.iter().map(loss).collect()
    }

    /// The accuracy of a setup on each domain's held-out sentences.
    pub(crate) fn accuracies(&self, setup: &Setup, domains: &Domains) -> Result<Vec<f64>, Box<dyn Error>> {
        let accuracy = |domain: &OfKind| {
            Ok(evaluate(self.base, &self.bank, setup, &domain.held_out, 64)?.accuracy().unwrap_or_default())
        };
        domains.all.iter().map(accuracy).collect()
    }
}
