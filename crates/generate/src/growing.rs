//! Texts that grow together, and join and leave a batch between steps.

use burn::tensor::Tensor;
use burn_adapters_composition::Composition;
use burn_adapters_core::{Reads, StackKind};
use burn_adapters_model::{AdapterBank, BaseModel, Forward, KvCache, Setup, TokenBatch};

use crate::decoder::read_rows;
use crate::{GenerateError, head_logits};

/// A text that a decoder continues with an adapter, or with the model alone: its tokens, and the cache of those that were
/// read. [`read`](Self::read) reads the prompt; [`step`](Self::step) continues many texts at once, whatever their adapters
/// and lengths. Each adapter needs a language-model head in the bank, its own or the
/// [model's](AdapterBank::add_model_head).
///
/// The logits of a text do not depend on the texts that it is continued with, except for the rounding of sums.
///
/// ```
/// use burn::tensor::Device;
/// use burn_adapters_generate::GrowingText;
/// use burn_adapters_model::{AdapterBank, BaseModel};
/// use burn_adapters_transformers::{AutoModel, ModelConfig};
///
/// let config = ModelConfig::from_json_str(
///     r#"{"model_type": "gpt2", "vocab_size": 50, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 32}"#,
/// )?;
/// let model = AutoModel::new_seeded(&config, 7, &Device::default());
/// let bank = AdapterBank::new(model.spec(), &Device::default());
/// let mut texts = [GrowingText::new(None, vec![5, 6, 7]), GrowingText::new(None, vec![8])];
/// for text in &mut texts {
///     while text.read(&model, &bank, 2)?.is_none() {}
///     text.push(9);
/// }
/// let logits = GrowingText::step(&model, &bank, &mut texts.each_mut())?;
/// assert_eq!((logits.len(), logits[0].len()), (2, 50));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct GrowingText {
    adapter: Option<String>,
    tokens: Vec<u32>,
    cache: KvCache,
}

impl GrowingText {
    /// A prompt that is not read yet. Without an adapter, the model alone continues it.
    pub fn new(adapter: Option<&str>, prompt: Vec<u32>) -> Self {
        Self { adapter: adapter.map(str::to_owned), tokens: prompt, cache: KvCache::new() }
    }

    /// All tokens: those of the prompt, and the new ones.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// The number of tokens that are not read yet.
    pub fn unread(&self) -> usize {
        self.tokens.len() - self.cache.tokens(0).min(self.tokens.len())
    }

    /// Appends a token.
    pub fn push(&mut self, token: u32) {
        self.tokens.push(token);
    }

    /// Reads at most so many tokens of the prompt; the logits of the next token once all are read. An adapter that must see
    /// the whole prompt (ReFT, gates) reads it at once.
    ///
    /// # Errors
    /// If the prompt has no tokens or too many, the adapter does not exist or does not fit, or the model has no decoder or
    /// has an encoder.
    pub fn read(
        &mut self,
        model: &(impl BaseModel + ?Sized),
        bank: &AdapterBank,
        most: usize,
    ) -> Result<Option<Vec<f32>>, GenerateError> {
        check_model(model)?;
        let max = model.decoder_limits().sequence;
        if self.tokens.len() >= max {
            return Err(GenerateError::NoRoom { row: 0, length: self.tokens.len(), max });
        }
        let setup = self.adapter.as_deref().map_or_else(Setup::base, Setup::adapter);
        let hooks = bank.hooks(&setup).map_err(burn_adapters_model::BaseError::from)?;
        let most = if hooks.is_positionwise() { most.max(1) } else { usize::MAX };
        let unread = &self.tokens[self.tokens.len() - self.unread()..];
        let batch = TokenBatch::new([&unread[..unread.len().min(most)]]);
        let output = model.forward_cached(&batch, &hooks, Reads::First, &mut self.cache)?;
        if self.unread() > 0 {
            return Ok(None);
        }
        let logits = logits(model, bank, &setup, output.row_states())?;
        Ok(read_rows(logits, 1)?.pop())
    }

    /// Reads the unread token of each text; the logits of each text's next token. Logits may be NaN or infinite if an adapter
    /// is broken; those of other texts are not.
    ///
    /// # Errors
    /// If a text has no unread token or several, or the pass fails. No text can continue then.
    pub fn step(
        model: &(impl BaseModel + ?Sized),
        bank: &AdapterBank,
        texts: &mut [&mut Self],
    ) -> Result<Vec<Vec<f32>>, GenerateError> {
        check_model(model)?;
        if let Some((row, text)) = texts.iter().enumerate().find(|(_, text)| text.unread() != 1) {
            return Err(GenerateError::Unread { row, found: text.unread() });
        }
        // Texts of one adapter are neighbors, so that nothing is gathered at each layer.
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by(|one, other| texts[*one].adapter.cmp(&texts[*other].adapter));
        let setup = match texts.iter().all(|text| text.adapter.is_none()) {
            true => Setup::base(),
            false => Setup::compose(Composition::route(order.iter().map(|row| texts[*row].adapter.as_deref()))),
        };
        let hooks = bank.hooks(&setup).map_err(burn_adapters_model::BaseError::from)?;
        let batch = TokenBatch::new(order.iter().map(|row| &texts[*row].tokens[texts[*row].tokens.len() - 1..]));
        let mut caches: Vec<KvCache> = order.iter().map(|row| std::mem::take(&mut texts[*row].cache)).collect();
        let output = model.forward_rows(&batch, &hooks, Reads::First, &mut caches);
        order.iter().zip(caches).for_each(|(row, cache)| texts[*row].cache = cache);
        let logits = logits(model, bank, &setup, output?.row_states())?;
        let mut found = vec![Vec::new(); texts.len()];
        order.iter().zip(read_rows(logits, order.len())?).for_each(|(row, logits)| found[*row] = logits);
        Ok(found)
    }
}

/// The logits of the next tokens, of adapters' heads or of the model.
fn logits(
    model: &(impl BaseModel + ?Sized),
    bank: &AdapterBank,
    setup: &Setup,
    states: Tensor<2>,
) -> Result<Tensor<2>, GenerateError> {
    match setup.composition() {
        Some(_) => head_logits(model, bank, setup, states).map_err(GenerateError::Logits),
        None => Ok(model.token_logits(states)?),
    }
}

fn check_model(model: &(impl BaseModel + ?Sized)) -> Result<(), GenerateError> {
    let spec = model.spec();
    match (spec.stack(StackKind::Decoder), spec.stack(StackKind::Encoder)) {
        (Some(_), None) => Ok(()),
        _ => Err(GenerateError::NotADecoder),
    }
}
