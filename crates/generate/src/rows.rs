//! Generation of one sequence for each row, and the choice of its tokens.

use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::choose::{greatest, penalize, sample};
use crate::decoder::Decoder;
use crate::{GenerateError, GenerationOptions, Sampling, Strategy};

/// The new tokens of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generated {
    /// The new tokens, without the prompt.
    pub ids: Vec<u32>,
    /// The reason why it ended.
    pub stopped: StopReason,
}

/// The reason why a row ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// A token of [`end_ids`](GenerationOptions::end_ids).
    End,
    /// The caller, with [`Flow::Stop`].
    Caller,
    /// [`max_new_tokens`](GenerationOptions::max_new_tokens) was reached.
    MaxNewTokens,
    /// The longest sequence that the model takes was reached.
    MaxLength,
}

/// Whether a row continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// It continues.
    Continue,
    /// It ends with this token.
    Stop,
}

pub(crate) fn generate(
    mut decoder: Decoder<'_>,
    options: &GenerationOptions,
    sampling: Option<Sampling>,
    on_token: &mut dyn FnMut(usize, u32) -> Flow,
) -> Result<Vec<Generated>, GenerateError> {
    let rows = decoder.rows.len();
    let mut choosers: Vec<TokenChooser> =
        (0..rows as u64).map(|row| TokenChooser::of(options, sampling, row)).collect();
    let mut ids: Vec<Vec<u32>> = vec![Vec::new(); rows];
    let mut stopped: Vec<Option<StopReason>> = vec![None; rows];
    while stopped.iter().any(Option::is_none) {
        let mut next = vec![None; rows];
        for (row, mut logits) in decoder.next()?.into_iter().enumerate() {
            if stopped[row].is_some() {
                continue;
            }
            let token = match options.first_id.filter(|_| ids[row].is_empty()) {
                Some(first) => first,
                None => choosers[row].choose(&mut logits, &decoder.rows[row]),
            };
            ids[row].push(token);
            let flow = on_token(row, token);
            stopped[row] = match () {
                () if options.end_ids.contains(&token) => Some(StopReason::End),
                () if flow == Flow::Stop => Some(StopReason::Caller),
                () if ids[row].len() >= options.max_new_tokens => Some(StopReason::MaxNewTokens),
                () => None,
            };
            next[row] = stopped[row].is_none().then_some(token);
        }
        let is_full = |row: &usize| next[*row].is_some() && decoder.is_full(*row);
        for row in (0..rows).filter(is_full).collect::<Vec<_>>() {
            (next[row], stopped[row]) = (None, Some(StopReason::MaxLength));
        }
        decoder.push(&next);
    }
    let stopped = stopped.into_iter().map(|stopped| stopped.unwrap_or(StopReason::MaxLength));
    Ok(ids.into_iter().zip(stopped).map(|(ids, stopped)| Generated { ids, stopped }).collect())
}

/// Chooses the tokens of one row.
///
/// ```
/// use burn_adapters_generate::{GenerationOptions, Sampling, TokenChooser};
///
/// let mut greedy = TokenChooser::new(&GenerationOptions::greedy(), 0)?;
/// assert_eq!(greedy.choose(&mut [0.5, 2.0, 1.0], &[]), 1);
/// let options = GenerationOptions::sample(Sampling { seed: 7, ..Sampling::default() });
/// let token = || Ok::<_, burn_adapters_generate::GenerateError>(TokenChooser::new(&options, 0)?.choose(&mut [0.5, 0.4], &[]));
/// assert_eq!(token()?, token()?);
/// # Ok::<(), burn_adapters_generate::GenerateError>(())
/// ```
#[derive(Debug)]
pub struct TokenChooser {
    sampling: Option<Sampling>,
    random: StdRng,
    repetition_penalty: f64,
}

impl TokenChooser {
    /// For a row of a batch, counted from 0: each row has its own sequence of random numbers.
    ///
    /// # Errors
    /// If an option is out of range, or the strategy is beam search, which does not choose tokens one by one.
    pub fn new(options: &GenerationOptions, row: u64) -> Result<Self, GenerateError> {
        options.check()?;
        let sampling = match options.strategy {
            Strategy::Greedy => None,
            Strategy::Sample(sampling) => Some(sampling),
            Strategy::Beams { .. } => {
                let expected = "greedy or sampling, where tokens are chosen one by one";
                return Err(GenerateError::BadOption { option: "strategy", expected, found: "beam search".into() });
            }
        };
        Ok(Self::of(options, sampling, row))
    }

    fn of(options: &GenerationOptions, sampling: Option<Sampling>, row: u64) -> Self {
        let seed = sampling.map_or(0, |sampling| sampling.seed);
        let random = StdRng::seed_from_u64(row_seed(seed, row));
        Self { sampling, random, repetition_penalty: options.repetition_penalty }
    }

    /// The next token of a row with these tokens. The repetition penalty changes the logits.
    pub fn choose(&mut self, logits: &mut [f32], row: &[u32]) -> u32 {
        penalize(logits, row, self.repetition_penalty);
        match &self.sampling {
            Some(sampling) => sample(logits, sampling, &mut self.random),
            None => greatest(logits),
        }
    }
}

/// The seed of a row.
fn row_seed(seed: u64, row: u64) -> u64 {
    seed.wrapping_add(row.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}
