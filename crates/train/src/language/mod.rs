//! The rows of language modeling: which of their tokens are predicted, and from which others.

mod loss;
mod masking;
mod preferences;
mod spans;

use std::borrow::Cow;

use burn_adapters_core::StackKind;
use burn_adapters_heads::Targets;
use burn_adapters_model::{BaseModel, MaskTokens, Row, Text, TokenBatch, Tokenize};

pub(crate) use self::loss::{PartialLoss, loss, measure};
pub use self::masking::MASKED_FRACTION;
use self::masking::mask;
pub(crate) use self::preferences::{compared, preference_loss};
pub(crate) use self::spans::has_spans;
pub use self::spans::{MaskedTokens, TrainedCounts};
use crate::{DataError, Dataset, Example, Label, TextForm, TokenData, TrainError, Truncation, batches};

/// The seed of the masks of evaluation, which are always the same.
const EVALUATION_SEED: u64 = 0x6576_616C;

/// What rows have in language modeling beside their tokens.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct LanguageRows {
    /// For each row, the numbers of the tokens whose logits are needed, in order; empty if they are those of all tokens.
    pub(crate) wanted: Vec<Vec<usize>>,
    /// For each row, the tokens that a decoder predicts from it, for encoder-decoder models.
    pub(crate) targets: Vec<Row>,
    /// The rows before masking.
    pub(crate) unmasked: Option<Unmasked>,
}

/// Rows that are masked anew for each epoch.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Unmasked {
    pub(crate) rows: Vec<Row>,
    pub(crate) tokens: MaskTokens,
}

impl Unmasked {
    /// The rows with some tokens masked, and what is predicted.
    fn mask(&self, seed: u64) -> (Vec<Row>, (LanguageRows, Targets)) {
        let (mut rows, mut wanted, mut targets) = (Vec::new(), Vec::new(), Vec::new());
        for (row, number) in self.rows.iter().zip(0..) {
            let (row, positions, hidden) = mask(row, &self.tokens, batches::mix(seed, number));
            rows.push(row);
            wanted.push(positions);
            targets.push(hidden);
        }
        (rows, (LanguageRows { wanted, ..LanguageRows::default() }, Targets::Tokens(targets)))
    }
}

impl LanguageRows {
    /// Each token but the first is predicted from those before it: the logits of the token before are needed. The targets
    /// have one entry for each of them.
    pub(crate) fn causal(rows: &[Row]) -> (Self, Targets) {
        let wanted = rows.iter().map(|row| (0..row.ids.len().saturating_sub(1)).collect()).collect();
        let next = |row: &Row| row.ids.iter().skip(1).map(|id| Some(*id as usize)).collect();
        (Self { wanted, ..Self::default() }, Targets::Tokens(rows.iter().map(next).collect()))
    }

    /// All tokens of the targets are predicted.
    pub(crate) fn targets(targets: Vec<Row>) -> (Self, Targets) {
        let wanted = targets.iter().map(|row| (0..row.ids.len()).collect()).collect();
        let ids = targets.iter().map(|row| row.ids.iter().map(|id| Some(*id as usize)).collect()).collect();
        (Self { wanted, targets, unmasked: None }, Targets::Tokens(ids))
    }

    /// The mask tokens that the texts themselves have.
    pub(crate) fn masks_of(rows: &[Row], mask: u32) -> Self {
        let of_row = |row: &Row| row.ids.iter().enumerate().filter(|(_, id)| **id == mask).map(|(at, _)| at).collect();
        Self { wanted: rows.iter().map(of_row).collect(), ..Self::default() }
    }

    /// Those of these rows.
    pub(crate) fn select(&self, rows: &[usize]) -> Self {
        fn of<T: Clone>(all: &[T], rows: &[usize]) -> Vec<T> {
            if all.is_empty() { Vec::new() } else { rows.iter().map(|row| all[*row].clone()).collect() }
        }
        let unmasked = self.unmasked.as_ref();
        let unmasked = unmasked.map(|all| Unmasked { rows: of(&all.rows, rows), tokens: all.tokens.clone() });
        Self { wanted: of(&self.wanted, rows), targets: of(&self.targets, rows), unmasked }
    }
}

impl TokenData {
    /// Sets what is predicted.
    pub(crate) fn learn(&mut self, (language, labels): (LanguageRows, Targets)) {
        (self.language, self.labels) = (language, Some(labels));
    }

    /// Tokenizes the target texts.
    pub(crate) fn add_targets(
        &mut self,
        data: &Dataset,
        tokenizer: &(impl Tokenize + ?Sized),
    ) -> Result<(), TrainError> {
        let most = self.limits().max_target_length;
        let texts: Vec<Text<'_>> = data.examples().iter().filter_map(target_of).map(Text::from).collect();
        let targets = tokenizer.tokenize(&texts, most).map_err(TrainError::Tokenizer)?;
        if targets.len() != self.len() || targets.iter().any(|target| target.row.ids.is_empty()) {
            let message = format!("the tokenizer makes no token of a target text of {}", data.source());
            return Err(TrainError::Tokenizer(message.into()));
        }
        let cut = data.examples().iter().zip(&targets).filter(|(_, target)| target.truncated);
        self.target_truncation = Truncation::of(data, cut.map(|(example, _)| example), most);
        self.learn(LanguageRows::targets(targets.into_iter().map(|target| target.row).collect()));
        Ok(())
    }

    /// Rows whose tokens are predicted, each from those before it, by a decoder.
    ///
    /// # Errors
    /// If a row has a single token.
    pub fn predicting_next(mut self) -> Result<Self, TrainError> {
        if self.rows.iter().any(|row| row.ids.len() < 2) {
            return Err(nothing_to_predict(self.source()));
        }
        self.learn(LanguageRows::causal(&self.rows));
        self.form = TextForm::Causal;
        Ok(self)
    }

    /// Rows from which these are predicted, by the decoder of an encoder-decoder model.
    ///
    /// # Errors
    /// If there is not a target with at least one token for each row.
    pub fn predicting(mut self, targets: Vec<Row>) -> Result<Self, TrainError> {
        if targets.len() != self.len() {
            let source_name = self.source().to_owned();
            return Err(TrainError::LabelCount { source_name, rows: self.len(), labels: targets.len() });
        }
        if let Some(row) = targets.iter().position(|target| target.ids.is_empty()) {
            return Err(TrainError::BadRow { source_name: self.source().to_owned(), row });
        }
        self.learn(LanguageRows::targets(targets));
        self.form = TextForm::Target;
        Ok(self)
    }

    /// The rows with some tokens masked, always the same ones.
    pub(crate) fn masked(mut self, tokens: MaskTokens) -> Result<Self, TrainError> {
        let unmasked = Unmasked { rows: std::mem::take(&mut self.rows), tokens };
        let (rows, learned) = unmasked.mask(EVALUATION_SEED);
        if learned.1.token_classes().next().is_none() {
            return Err(nothing_to_predict(self.source()));
        }
        self.rows = rows;
        self.learn(learned);
        self.language.unmasked = Some(unmasked);
        Ok(self)
    }

    /// The data of an epoch, for which tokens are masked anew.
    pub(crate) fn of_epoch(&self, seed: u64, epoch: usize) -> Cow<'_, Self> {
        let Some(unmasked) = &self.language.unmasked else { return Cow::Borrowed(self) };
        let (rows, learned) = unmasked.mask(batches::mix(seed, epoch as u64));
        let mut data = self.with_rows(rows);
        data.learn(learned);
        Cow::Owned(data)
    }

    /// Whether a model of this kind can read the rows: their tokens are predicted by an encoder, a decoder, or both.
    pub(crate) fn check_model(&self, model: &(impl BaseModel + ?Sized)) -> Result<(), TrainError> {
        let kinds: Vec<StackKind> = model.spec().stacks.iter().map(|stack| stack.kind).collect();
        let (expected, fits) = match self.form() {
            TextForm::Masked => ("an encoder such as BERT", kinds == [StackKind::Encoder]),
            TextForm::Causal | TextForm::Preferences => ("a decoder such as GPT-2", kinds == [StackKind::Decoder]),
            TextForm::Target => ("an encoder-decoder such as T5", model.decoder_start().is_some()),
            _ => return Ok(()),
        };
        if fits {
            return Ok(());
        }
        Err(TrainError::ModelKind { model_type: model.spec().model_type.clone(), expected })
    }

    /// A batch of these rows, with the rows of the decoder if they are known.
    pub(crate) fn batch(&self, model: &(impl BaseModel + ?Sized), indices: &[usize]) -> TokenBatch {
        let batch = TokenBatch::from_rows(indices.iter().map(|index| &self.rows[*index]));
        match model.decoder_start() {
            Some(start) if !self.language.targets.is_empty() => {
                let targets = indices.iter().map(|index| &self.language.targets[*index]);
                batch.with_decoder(TokenBatch::from_rows(targets).shifted(start))
            }
            _ => batch,
        }
    }
}

/// The target text of an example.
fn target_of(example: &Example) -> Option<&str> {
    match &example.label {
        Some(Label::Text(target)) => Some(target),
        _ => None,
    }
}

/// Checks that every example has a target text.
pub(crate) fn check_targets(data: &Dataset) -> Result<(), DataError> {
    let Some(example) = data.examples().iter().find(|example| target_of(example).is_none()) else { return Ok(()) };
    let message = format!("line {}: the text has no target text", example.line);
    Err(DataError::Malformed { source_name: data.source().to_owned(), message })
}

pub(crate) fn no_mask(data: &Dataset) -> TrainError {
    let message =
        "the tokenizer names no mask token (mask_token): masked language modeling needs an encoder such as BERT";
    DataError::Malformed { source_name: data.source().to_owned(), message: message.to_owned() }.into()
}

pub(crate) fn nothing_to_predict(source: &str) -> TrainError {
    let message = "no text has a token to predict".to_owned();
    DataError::Malformed { source_name: source.to_owned(), message }.into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn data() -> TokenData {
        let rows = (0..8_u32).map(|row| Row::new((0..20).map(|token| 10 + row * 20 + token).collect()));
        TokenData::new("texts", rows.collect(), None).unwrap()
    }

    fn masked() -> TokenData {
        data().masked(MaskTokens { mask: 4, special: vec![0, 1, 2, 3, 4], vocabulary: 200 }).unwrap()
    }

    /// The rows with what was predicted of them in its place.
    fn restored(data: &TokenData) -> Vec<Vec<u32>> {
        let Some(Targets::Tokens(targets)) = &data.labels else { panic!("no targets") };
        let rows = data.rows.iter().zip(&data.language.wanted).zip(targets);
        let restore = |((row, wanted), targets): ((&Row, &Vec<usize>), &Vec<Option<usize>>)| {
            let mut ids = row.ids.clone();
            wanted.iter().zip(targets).for_each(|(at, target)| ids[*at] = target.unwrap() as u32);
            ids
        };
        rows.map(restore).collect()
    }

    #[test]
    fn every_epoch_masks_other_tokens_of_the_same_texts() {
        let data = masked();
        let [first, again, second] =
            [(3, 0), (3, 0), (3, 1)].map(|(seed, epoch)| data.of_epoch(seed, epoch).into_owned());
        assert_eq!(first, again);
        assert_ne!(first.rows, second.rows);
        assert_ne!(first.rows, data.of_epoch(4, 0).rows);
        let texts: Vec<Vec<u32>> = self::data().rows.iter().map(|row| row.ids.clone()).collect();
        assert!([&data, &first, &second].iter().all(|data| restored(data) == texts));
    }

    #[test]
    fn rows_without_masks_are_the_same_in_every_epoch() {
        let data = data().predicting_next().unwrap();
        assert!(matches!(data.of_epoch(3, 1), Cow::Borrowed(_)));
    }
}
