//! The decoder of a batch: what it has read, and the logits of the next tokens.

use burn::tensor::Tensor;
use burn_adapters_core::{Reads, StackKind};
use burn_adapters_model::{BaseModel, DecoderStart, Forward, Hooks, KvCache, TokenBatch};

use crate::{GenerateError, Logits};

/// The rows of a batch, and the cache of their tokens.
pub(crate) struct Decoder<'d> {
    model: &'d dyn BaseModel,
    hooks: Hooks<'d>,
    logits: &'d Logits<'d>,
    /// The rows of the encoder, if the model has one.
    encoded: Option<TokenBatch>,
    cache: KvCache,
    /// The tokens of each row that the decoder has read or will read next.
    pub(crate) rows: Vec<Vec<u32>>,
    /// The tokens that are not read yet.
    unread: Vec<Vec<u32>>,
    /// The rows that ended: they read their last token again, and forget it.
    ended: Vec<bool>,
}

impl<'d> Decoder<'d> {
    pub(crate) fn new(
        model: &'d dyn BaseModel,
        hooks: &Hooks<'d>,
        prompts: &TokenBatch,
        logits: &'d Logits<'d>,
    ) -> Result<Self, GenerateError> {
        if model.spec().stack(StackKind::Decoder).is_none() {
            return Err(GenerateError::NoDecoder);
        }
        let rows_of = |batch: &TokenBatch| (0..batch.len()).map(|row| batch.row(row).to_vec()).collect::<Vec<_>>();
        let has_encoder = model.spec().stack(StackKind::Encoder).is_some();
        let encoded = has_encoder.then(|| TokenBatch::new(rows_of(prompts).iter().map(Vec::as_slice)));
        let rows = match (prompts.decoder(), has_encoder) {
            (Some(decoder), _) => rows_of(decoder),
            (None, false) => rows_of(prompts),
            (None, true) => {
                let start = model.decoder_start().ok_or(GenerateError::NoStart)?;
                let first = |row: &Vec<u32>| match start {
                    DecoderStart::Token(id) => Some(id),
                    DecoderStart::LastToken => row.last().copied(),
                };
                rows_of(prompts).iter().map(|row| Vec::from_iter(first(row))).collect()
            }
        };
        let max = model.decoder_limits().sequence;
        if let Some((row, tokens)) = rows.iter().enumerate().find(|(_, tokens)| tokens.len() >= max) {
            return Err(GenerateError::NoRoom { row, length: tokens.len(), max });
        }
        let (unread, ended) = (rows.clone(), vec![false; rows.len()]);
        Ok(Self { model, hooks: hooks.clone(), logits, encoded, cache: KvCache::new(), rows, unread, ended })
    }

    /// Whether a row is as long as the model allows with its next token.
    pub(crate) fn is_full(&self, row: usize) -> bool {
        self.rows.get(row).is_none_or(|tokens| tokens.len() + 1 >= self.model.decoder_limits().sequence)
    }

    /// Appends a token to each row; `None` ends the row.
    pub(crate) fn push(&mut self, tokens: &[Option<u32>]) {
        for (row, token) in tokens.iter().enumerate().take(self.rows.len()) {
            self.ended[row] = token.is_none();
            match token {
                Some(token) => {
                    self.rows[row].push(*token);
                    self.unread[row].push(*token);
                }
                // A batch has no rows without tokens.
                None => self.unread[row].extend(self.rows[row].last()),
            }
        }
    }

    /// Whether its adapters fit a certain number of rows alone.
    pub(crate) fn is_sized(&self) -> bool {
        self.hooks.is_sized()
    }

    /// Lets each row be followed by copies, so that there are `times` rows for each.
    pub(crate) fn repeat(&mut self, times: usize) {
        self.hooks = self.hooks.with_repeated_rows(times);
    }

    /// Continues with these rows, in this order; a row may occur several times.
    pub(crate) fn select(&mut self, order: &[usize]) {
        let selected = |rows: &[Vec<u32>]| order.iter().map(|row| rows[*row].clone()).collect();
        self.rows = selected(&self.rows);
        self.unread = selected(&self.unread);
        self.ended = order.iter().map(|row| self.ended[*row]).collect();
        if !self.cache.is_empty() {
            self.cache = self.cache.select(order);
        }
        if let Some(encoded) = &self.encoded {
            let rows: Vec<&[u32]> = order.iter().map(|row| encoded.row(*row)).collect();
            self.encoded = Some(TokenBatch::new(rows));
        }
    }

    /// Reads the unread tokens; gives the logits of the next token of each row.
    pub(crate) fn next(&mut self) -> Result<Vec<Vec<f32>>, GenerateError> {
        let tokens = TokenBatch::new(self.unread.iter().map(Vec::as_slice));
        let batch = match &self.encoded {
            Some(encoded) => encoded.clone().with_decoder(tokens),
            None => tokens,
        };
        let rows = self.rows.len();
        let output = self.model.forward_cached(&batch, &self.hooks, Reads::First, &mut self.cache)?;
        self.unread.iter_mut().for_each(Vec::clear);
        for (row, _) in self.ended.iter().enumerate().filter(|(_, ended)| **ended) {
            self.cache.forget_last(row);
        }
        let [found, _, _] = output.hidden.dims();
        if found != rows {
            return Err(GenerateError::Branches { rows, found });
        }
        let logits = (self.logits)(output.row_states()).map_err(GenerateError::Logits)?;
        let rows = read_rows(logits, rows)?;
        match rows.iter().position(|row| row.iter().any(|logit| !logit.is_finite())) {
            Some(row) => Err(GenerateError::NotFinite { row }),
            None => Ok(rows),
        }
    }
}

/// The logits of each row, from the device.
pub(crate) fn read_rows(logits: Tensor<2>, rows: usize) -> Result<Vec<Vec<f32>>, GenerateError> {
    let [found, vocabulary] = logits.dims();
    if found != rows || vocabulary == 0 {
        return Err(GenerateError::Shape { rows, found: [found, vocabulary] });
    }
    let device = |error: &dyn std::fmt::Debug| GenerateError::Device(format!("{error:?}"));
    let values = logits.try_into_data_as::<f32>().map_err(|error| device(&error))?;
    let values: Vec<f32> = values.try_into_vec().map_err(|error| device(&error))?;
    Ok(values.chunks(vocabulary).map(<[f32]>::to_vec).collect())
}
