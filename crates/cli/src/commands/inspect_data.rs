//! `inspect --data`: what is learned of conversations and completions.

use std::ops::Range;
use std::path::{Path, PathBuf};

use burn_adapters_train::{ChatData, ChatShape, Dataset, Example, Format, MaskedTokens, Source};
use burn_adapters_transformers::Tokenizer;
use clap::Args;
use serde_json::{Value, json};

use super::chat_data::{self, ChatDataArguments};
use super::data::data_error;
use super::model::{tokenizer_error, train_error};
use crate::error::{CliError, CliResult};
use crate::output::{self, Part, shown, thousands};

/// The data to inspect.
#[derive(Debug, Clone, Args)]
pub(super) struct DataArguments {
    /// Conversations, completions, preferences or texts (.jsonl): show a sample of rows with the tokens that are learned
    /// marked, and count them. The two answers of a preference are two rows, the chosen one first. Only the model's tokenizer is read.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["config", "adapter"])]
    data: Option<PathBuf>,

    /// With --data, the number of rows to show.
    #[arg(long, value_name = "N", default_value_t = 3)]
    samples: usize,

    /// With --data, cut rows to this many tokens, as in training [default: the model's limit].
    #[arg(long, value_name = "TOKENS")]
    max_length: Option<usize>,

    #[command(flatten)]
    chat: ChatDataArguments,
}

/// A row that is shown.
struct Sample {
    line: usize,
    text: String,
    tokens: usize,
    trained: usize,
    truncated: bool,
    /// The byte ranges that tokens which are learned stand for.
    spans: Vec<Range<usize>>,
    /// The end of the last token.
    end: usize,
}

/// The numbers of a file.
#[derive(Default)]
struct Counts {
    rows: usize,
    tokens: usize,
    trained: usize,
    untrained_rows: usize,
    truncated_rows: usize,
}

impl DataArguments {
    /// Shows the data, if there are any.
    pub(super) fn run(&self, model: &Path, json: bool) -> Option<CliResult> {
        self.data.as_ref().map(|data| self.inspect(data, model, json))
    }

    fn inspect(&self, path: &Path, model: &Path, json: bool) -> CliResult {
        let source = Source::open(path, None).map_err(|error| data_error(&error))?;
        if source.format != Format::JsonLines {
            return Err(CliError::mistake(format!("{} is not a .jsonl file", path.display()))
                .with_help("--data shows conversations, completions, preferences and texts in JSON Lines"));
        }
        let tokenizer = Tokenizer::from_dir(model).map_err(|error| tokenizer_error(model, &error))?;
        let max_length = self.max_length(&tokenizer)?;
        // Tells rows of no shape.
        let shape = ChatData::shape_of(&source).map_err(|error| data_error(&error))?;
        let (shape, data) = match shape {
            Some(shape @ ChatShape::Preference) => (shape, answers(&self.chat.preferences(&source, model)?)?),
            _ => {
                let rows = chat_data::read(&source)?;
                (rows.shape, self.chat.render(&rows, model, &tokenizer)?)
            }
        };
        let (counts, samples) = self.tokenized(&data, &tokenizer, max_length)?;
        if json {
            return output::json(&to_json(&source.name, shape, &counts, &samples));
        }
        print(&source.name, shape, &counts, &samples)
    }

    fn max_length(&self, tokenizer: &Tokenizer) -> CliResult<usize> {
        let most = tokenizer.model_limit();
        match self.max_length {
            Some(0) => Err(CliError::mistake("--max-length must be at least 1, found 0")),
            Some(asked) if asked > most => {
                Err(CliError::mistake(format!("--max-length is {asked}, but the model takes at most {most} tokens")))
            }
            asked => Ok(asked.unwrap_or_else(|| tokenizer.max_length())),
        }
    }

    fn tokenized(&self, data: &Dataset, tokenizer: &Tokenizer, max_length: usize) -> CliResult<(Counts, Vec<Sample>)> {
        let (mut counts, mut samples) = (Counts::default(), Vec::new());
        for example in data.examples() {
            let masked = MaskedTokens::new(example, tokenizer, max_length).map_err(|error| train_error(&error))?;
            counts.rows += 1;
            counts.tokens += masked.trained.len();
            counts.trained += masked.count();
            counts.untrained_rows += usize::from(masked.count() == 0);
            counts.truncated_rows += usize::from(masked.tokenized.truncated);
            if samples.len() < self.samples {
                samples.push(sample(example, &masked));
            }
        }
        Ok((counts, samples))
    }
}

/// The two answers of each pair one after the other, as rows of their own.
fn answers(pairs: &Dataset) -> CliResult<Dataset> {
    let both = |pair: &Example| [Some(Example { rejected: None, ..pair.clone() }), pair.rejected.as_deref().cloned()];
    let rows = pairs.examples().iter().flat_map(both).flatten().collect();
    Dataset::from_examples(pairs.source(), rows).map_err(|error| data_error(&error))
}

fn sample(example: &Example, masked: &MaskedTokens) -> Sample {
    let (mut spans, mut end): (Vec<Range<usize>>, usize) = (Vec::new(), 0);
    let mut follows = false;
    for (piece, trained) in masked.tokenized.pieces.iter().zip(&masked.trained) {
        let Some(piece) = piece else { continue };
        end = end.max(piece.end);
        match spans.last_mut() {
            _ if !trained || piece.start == piece.end => {}
            // With the space between two words.
            Some(last) if follows || last.end >= piece.start => last.end = last.end.max(piece.end),
            _ => spans.push(piece.start..piece.end),
        }
        follows = *trained;
    }
    Sample {
        line: example.line,
        text: example.text.clone(),
        tokens: masked.trained.len(),
        trained: masked.count(),
        truncated: masked.tokenized.truncated,
        spans,
        end,
    }
}

fn to_json(source: &str, shape: ChatShape, counts: &Counts, samples: &[Sample]) -> Value {
    let sample = |sample: &Sample| {
        let spans: Vec<[usize; 2]> = sample.spans.iter().map(|span| [span.start, span.end]).collect();
        json!({"line": sample.line, "text": sample.text, "tokens": sample.tokens, "trained_tokens": sample.trained,
               "truncated": sample.truncated, "trained": spans})
    };
    json!({
        "data": source, "shape": shape.to_string().replace('`', ""), "rows": counts.rows, "tokens": counts.tokens,
        "trained_tokens": counts.trained, "untrained_rows": counts.untrained_rows, "truncated_rows": counts.truncated_rows,
        "samples": samples.iter().map(sample).collect::<Vec<_>>(),
    })
}

fn print(source: &str, shape: ChatShape, counts: &Counts, samples: &[Sample]) -> CliResult {
    let Counts { rows, tokens, trained, untrained_rows, truncated_rows } = counts;
    let percent = 100.0 * *trained as f64 / (*tokens).max(1) as f64;
    output::line(format_args!(
        "{}: rows of {shape}: {} rows, {} tokens, {} of them learned ({percent:.1} %)",
        shown(source),
        thousands(*rows),
        thousands(*tokens),
        thousands(*trained)
    ))?;
    output::line(format_args!(
        "{} rows without tokens that are learned, {} rows cut",
        thousands(*untrained_rows),
        thousands(*truncated_rows)
    ))?;
    for sample in samples {
        let cut = if sample.truncated { ", cut" } else { "" };
        output::line(format_args!(
            "\nline {}: {} tokens, {} learned{cut}",
            sample.line,
            thousands(sample.tokens),
            thousands(sample.trained)
        ))?;
        let (mut parts, mut at) = (Vec::new(), 0);
        for span in &sample.spans {
            parts.push(Part { text: &sample.text[at..span.start], marked: false });
            parts.push(Part { text: &sample.text[span.clone()], marked: true });
            at = span.end;
        }
        let end = if sample.truncated { sample.end.max(at) } else { sample.text.len() };
        parts.push(Part { text: &sample.text[at..end], marked: false });
        output::parts(&parts)?;
    }
    Ok(())
}
