//! Pairs of answers to a prompt, of which one is preferred: their rows, the reference model, and their loss.
//!
//! The reference model is the base model without adapters, which never changes. So the log-probabilities that it gives to the
//! answers are computed once, before training ([`TokenData::with_reference`]), and no second model is in memory.
//!
//! In training, the log-probabilities of the trained model come first, without a graph. They say how strongly the loss depends
//! on each answer (`−β σ(−margin)` on the preferred one, the opposite on the other), and the loss of the tokens, multiplied by
//! that, has the gradients of the loss of the pairs.

use std::ops::Range;

use burn_adapters_composition::HeadSetup;
use burn_adapters_heads::{ComparedAnswers, HeadConfig, PreferenceTarget, Targets};
use burn_adapters_model::{AdapterBank, BaseModel, Forward, Setup, TokenStates, Tokenize};

use super::loss::{PartialLoss, measure, weighted_loss};
use super::{LanguageRows, MaskedTokens};
use crate::evaluate::check_logits;
use crate::{
    DataError, Dataset, Lengths, TextForm, TokenData, TrainError, Truncation, Unpreferred, batches, score_batch,
};

/// The name of the output layer of the reference model.
const REFERENCE: &str = "reference";

impl TokenData {
    /// The pairs of answers that were left out because nothing can be learned of them, if there are any.
    pub fn unpreferred(&self) -> Option<&Unpreferred> {
        self.unpreferred.as_ref()
    }

    /// Tokenizes pairs of answers: the rows with the preferred and with the rejected one follow each other. Pairs of which
    /// nothing can be learned are left out, and counted.
    pub(crate) fn with_preferences(
        data: &Dataset,
        tokenizer: &(impl Tokenize + ?Sized),
        lengths: Lengths,
    ) -> Result<Self, TrainError> {
        let (mut rows, mut answers, mut groups) = (Vec::new(), Vec::new(), Vec::new());
        let (mut cut, mut left_out) = (Vec::new(), Unpreferred::new(data, lengths.max_length));
        for example in data.examples() {
            let Some(rejected) = example.rejected.as_deref() else {
                let message = format!("line {}: the text has no rejected answer beside it", example.line);
                return Err(DataError::Malformed { source_name: data.source().to_owned(), message }.into());
            };
            let tokenize = |example| MaskedTokens::new(example, tokenizer, lengths.max_length);
            let pair = [tokenize(example)?, tokenize(rejected)?];
            let is_cut = pair.iter().any(|answer| answer.tokenized.truncated);
            if is_cut {
                cut.push(example);
            }
            let is_empty = pair.iter().any(|answer| answer.count() == 0);
            let are_equal = pair[0].tokenized.row.ids == pair[1].tokenized.row.ids;
            if is_empty || are_equal {
                left_out.add(example, is_empty, is_cut);
                groups.push(rows.len()..rows.len());
                continue;
            }
            groups.push(rows.len()..rows.len() + 2);
            for answer in pair {
                answers.push((0..answer.trained.len()).filter(|at| answer.trained[*at]).collect::<Vec<_>>());
                rows.push(answer.tokenized.row);
            }
        }
        if rows.is_empty() {
            let message = left_out.all();
            return Err(DataError::Malformed { source_name: data.source().to_owned(), message }.into());
        }
        let mut tokens = Self::new(data.source(), rows, None)?;
        tokens.truncation = Truncation::of(data, cut.into_iter(), lengths.max_length);
        tokens.unpreferred = left_out.found();
        tokens.prefer(answers, groups, lengths);
        Ok(tokens)
    }

    /// Rows that are pairs of answers, the preferred one before the rejected one: `answers` are the tokens of the answer in each
    /// row. [`with_reference`](Self::with_reference) completes them.
    ///
    /// ```
    /// use burn_adapters_train::{Row, TokenData};
    ///
    /// let rows = vec![Row::new(vec![5, 6, 7]), Row::new(vec![5, 8])];
    /// let pair = TokenData::new("pair", rows, None)?.preferring(&[1..3, 1..2])?;
    /// assert_eq!((pair.len(), pair.examples().count()), (2, 1));
    /// # Ok::<(), burn_adapters_train::TrainError>(())
    /// ```
    ///
    /// # Errors
    /// If there are not two rows for each pair and an answer for each row, or an answer is empty, begins with the first token of
    /// its row, or reaches beyond the row.
    pub fn preferring(mut self, answers: &[Range<usize>]) -> Result<Self, TrainError> {
        if answers.len() != self.len() || !self.len().is_multiple_of(2) {
            let source_name = self.source().to_owned();
            return Err(TrainError::LabelCount { source_name, rows: self.len(), labels: answers.len() });
        }
        let fits =
            |(answer, length): (&Range<usize>, usize)| !answer.is_empty() && answer.start > 0 && answer.end <= length;
        if let Some(row) = answers.iter().zip(self.lengths()).position(|one| !fits(one)) {
            return Err(TrainError::BadRow { source_name: self.source().to_owned(), row });
        }
        let groups = (0..self.len() / 2).map(|pair| 2 * pair..2 * pair + 2).collect();
        let lengths = self.limits();
        self.prefer(answers.iter().cloned().map(Iterator::collect).collect(), groups, lengths);
        Ok(self)
    }

    fn prefer(&mut self, answers: Vec<Vec<usize>>, groups: Vec<Range<usize>>, lengths: Lengths) {
        let target = |(row, answer): (usize, &Vec<usize>)| PreferenceTarget {
            pair: row / 2,
            chosen: row % 2 == 0,
            tokens: answer.iter().map(|at| self.rows[row].ids[*at] as usize).collect(),
            beta: 0.0,
            reference: None,
        };
        let targets = Targets::Preferences(answers.iter().enumerate().map(target).collect());
        // The logits of the token before predict a token.
        let wanted = answers.into_iter().map(|answer| answer.into_iter().map(|at| at - 1).collect()).collect();
        self.set_groups(groups, TextForm::Preferences, lengths);
        self.learn((LanguageRows { wanted, ..LanguageRows::default() }, targets));
    }

    /// Compares the answers with those of a reference model: the base model without adapters, of which the log-probabilities
    /// are computed here. `beta` says how strongly the trained model is tied to it. The callback gets the numbers of completed
    /// and of all rows after each batch of `batch_size` pairs.
    ///
    /// # Errors
    /// If these are no pairs of answers, `beta` or `batch_size` is not above 0, the model has no output layer of its own or is
    /// no decoder, it fails, or a log-probability is not finite.
    pub fn with_reference(
        mut self,
        model: &(impl BaseModel + ?Sized),
        beta: f64,
        batch_size: usize,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self, TrainError> {
        let bad = |option, expected, found: String| Err(TrainError::BadConfig { option, expected, found });
        if !(beta > 0.0 && beta.is_finite()) {
            return bad("beta", "a number above 0", beta.to_string());
        }
        if batch_size == 0 {
            return bad("batch size", "at least 1", "0".into());
        }
        if self.form() != TextForm::Preferences {
            return bad("beta", "used with pairs of a preferred and a rejected answer", format!("{:?}", self.form()));
        }
        self.check_model(model)?;
        if !model.has_token_logits() {
            return Err(TrainError::NoReference { model_type: model.spec().model_type.clone() });
        }
        let mut bank = AdapterBank::new(model.spec(), &model.device());
        bank.add_model_head(REFERENCE, &HeadConfig::preference(model.decoder_limits().vocabulary))?;
        let setup = Setup::base().with_head(HeadSetup::One(REFERENCE.to_owned()));
        let (mut known, mut done) = (vec![0.0; self.len()], 0);
        for indices in self.batches(|lengths| batches::by_length(lengths, batch_size)) {
            for part in score_batch(model, &bank, &setup, &self, &indices)? {
                check_logits(REFERENCE, &part.values)?;
                let sums = part.values.iter().map(|values| log_probability(values));
                part.rows.iter().zip(sums).for_each(|(row, sum)| known[indices[*row]] = sum);
            }
            done += indices.len();
            progress(done, self.len());
        }
        if let Some(Targets::Preferences(targets)) = &mut self.labels {
            for (target, known) in targets.iter_mut().zip(known) {
                (target.beta, target.reference) = (beta, Some(known));
            }
        }
        Ok(self)
    }

    /// β of pairs of answers, once they are compared with a reference model.
    pub fn beta(&self) -> Option<f64> {
        match self.labels() {
            Some(Targets::Preferences(targets)) => {
                targets.first().and_then(|target| target.reference.map(|_| target.beta))
            }
            _ => None,
        }
    }
}

/// The log-probability of an answer, from two numbers for each of its tokens.
pub(crate) fn log_probability(values: &[f32]) -> f64 {
    values.iter().step_by(2).map(|value| f64::from(*value)).sum()
}

/// The pairs of some rows, from two numbers for each token of their answers.
pub(crate) fn compared(
    targets: &[PreferenceTarget],
    values: &[Vec<f32>],
) -> Result<Vec<ComparedAnswers>, burn_adapters_heads::HeadError> {
    let sums: Vec<f64> = values.iter().map(|values| log_probability(values)).collect();
    ComparedAnswers::of(targets, &sums)
}

/// The loss of pairs, summed and multiplied by `factor`, in training. `tokens` are the targets of all states.
pub(crate) fn preference_loss(
    model: &(impl BaseModel + ?Sized),
    bank: &AdapterBank,
    states: &TokenStates,
    targets: &[PreferenceTarget],
    tokens: &[usize],
    factor: f64,
) -> Result<PartialLoss, TrainError> {
    let constant = TokenStates { states: states.states.clone().without_autodiff(), ..states.clone() };
    let measured = measure(model, bank, &constant, tokens)?;
    let mut each = measured.iter().map(|token| f64::from(token.log_probability));
    let sums: Vec<f64> = states.lengths.iter().map(|length| each.by_ref().take(*length).sum()).collect();
    let compared = ComparedAnswers::of(targets, &sums)?;
    let mut slopes = vec![0.0; targets.len()];
    for answers in &compared {
        (slopes[answers.chosen], slopes[answers.rejected]) = (answers.slope(), -answers.slope());
    }
    let weights = states.lengths.iter().zip(&slopes);
    let weights = weights.flat_map(|(length, slope)| std::iter::repeat_n((slope * factor) as f32, *length));
    let surrogate = weighted_loss(model, bank, states, tokens, &weights.collect::<Vec<_>>())?;
    let value = compared.iter().map(ComparedAnswers::loss).sum::<f64>() * factor;
    Ok(PartialLoss { value, ..surrogate })
}
