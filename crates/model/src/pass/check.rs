//! Checks of a batch before a model runs on it.

use crate::{BaseError, Limits, TokenBatch};

/// Rejects input on which a model would panic.
pub(super) fn check(batch: &TokenBatch, limits: Limits) -> Result<(), BaseError> {
    if batch.is_empty() || batch.lengths().contains(&0) {
        return Err(BaseError::Empty { rows: batch.len() });
    }
    let (length, max) = (batch.sequence(), limits.sequence);
    if length > max {
        return Err(BaseError::TooLong { length, max });
    }
    let vocabulary = limits.vocabulary;
    if let Some(&id) = batch.ids().iter().find(|id| **id as usize >= vocabulary) {
        return Err(BaseError::UnknownToken { id, vocabulary });
    }
    let token_types = limits.token_types;
    match batch.token_types().unwrap_or_default().iter().find(|id| **id as usize >= token_types) {
        Some(&id) => Err(BaseError::UnknownTokenType { id, token_types }),
        None => Ok(()),
    }
}

/// As [`check`], for the decoder's rows.
pub(super) fn check_decoder(
    batch: &TokenBatch,
    decoder: &TokenBatch,
    limits: Limits,
    has_decoder: bool,
) -> Result<(), BaseError> {
    if !has_decoder {
        return Err(BaseError::NoDecoder);
    }
    let (rows, found) = (batch.len(), decoder.len());
    if rows != found {
        return Err(BaseError::DecoderRows { rows, found });
    }
    check(decoder, limits)
}
