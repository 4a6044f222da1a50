//! Generated texts beside the target texts of labeled data, in `evaluate`.

use std::path::Path;

use burn::tensor::Tensor;
use burn_adapters_core::StackKind;
use burn_adapters_generate::{GenerationOptions, Strategy, generate, head_logits};
use burn_adapters_model::{BaseModel, Setup, TokenBatch};
use burn_adapters_train::{Dataset, Label, Rouge, TokenData, bleu};
use clap::Args;
use serde_json::{Map, Value};

use super::continuing::generate_error;
use super::model::{Model, bank_error};
use super::sampling::{end_ids, read_settings};
use super::setup::Loaded;
use crate::error::{CliError, CliResult, chain};
use crate::progress::{Style, Task as Progress, Unit};

/// How `evaluate` generates texts.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct GeneratedArguments {
    /// Sequence-to-sequence: the largest number of new tokens of the texts that are generated for ROUGE and BLEU; 0 to generate
    /// none.
    #[arg(long, value_name = "N", default_value_t = 128)]
    max_new_tokens: usize,

    /// Sequence-to-sequence: search with this many sequences for each text, instead of taking the most probable token each
    /// time.
    #[arg(long, value_name = "N")]
    beams: Option<usize>,
}

/// The similarity of generated and target texts.
pub(super) struct Similarity {
    rouge: Rouge,
    bleu: f64,
}

impl Similarity {
    /// That of some rows.
    pub(super) fn of(texts: &[String], data: &Dataset, rows: &[usize]) -> Self {
        let target = |row: usize| match &data.examples()[row].label {
            Some(Label::Text(target)) => target.as_str(),
            _ => "",
        };
        let pairs: Vec<(&str, &str)> = rows.iter().map(|row| (texts[*row].as_str(), target(*row))).collect();
        let rouge: Vec<Rouge> = pairs.iter().map(|(text, target)| Rouge::of(text, target)).collect();
        Self { rouge: Rouge::mean(&rouge), bleu: bleu(pairs) }
    }

    fn values(&self) -> [(&'static str, f64); 4] {
        let Rouge { rouge_1, rouge_2, rouge_l } = self.rouge;
        [("rouge1", rouge_1), ("rouge2", rouge_2), ("rougeL", rouge_l), ("bleu", self.bleu)]
    }

    pub(super) fn add_to(&self, object: &mut Map<String, Value>) {
        object.extend(self.values().map(|(name, value)| (name.to_owned(), value.into())));
    }

    /// A line for display.
    pub(super) fn shown(&self) -> String {
        let [one, two, longest, bleu] = self.values().map(|(_, value)| value);
        format!("generated texts: ROUGE-1 {one:.4}, ROUGE-2 {two:.4}, ROUGE-L {longest:.4}, BLEU {bleu:.2}")
    }
}

impl GeneratedArguments {
    /// The text that each row's adapter generates; `None` if none are requested.
    pub(super) fn texts(
        self,
        model: &Model,
        dir: &Path,
        loaded: &Loaded,
        tokens: &TokenData,
        batches: &[(Setup, Vec<usize>)],
        style: Style,
    ) -> CliResult<Option<Vec<String>>> {
        if self.max_new_tokens == 0 {
            return Ok(None);
        }
        if loaded.branches() > 1 {
            style.say(format_args!(
                "note: {} has several branches, so no texts are generated for ROUGE and BLEU",
                loaded.shown()
            ));
            return Ok(None);
        }
        let options = self.options(model, dir, style)?;
        let mut texts = vec![String::new(); tokens.len()];
        let mut task = Progress::new(style, "generating", tokens.len() as u64, Unit::Count);
        let mut done = 0;
        for (setup, rows) in batches {
            let batch = TokenBatch::from_rows(rows.iter().map(|row| &tokens.rows()[*row]));
            let hooks = loaded.bank.hooks(setup).map_err(|error| bank_error(&error))?;
            let logits = |states: Tensor<2>| head_logits(&model.base, &loaded.bank, setup, states);
            let generated = generate(&model.base, &hooks, &batch, &logits, &options);
            for (row, generated) in rows.iter().zip(generated.map_err(|error| generate_error(&error))?) {
                let text = model.tokenizer.decode(&generated.ids, true);
                texts[*row] = text.map_err(|error| CliError::failure(chain(&error)))?;
            }
            done += rows.len();
            task.set(done as u64, "");
        }
        task.finish();
        Ok(Some(texts))
    }

    fn options(self, model: &Model, dir: &Path, style: Style) -> CliResult<GenerationOptions> {
        let own = read_settings(dir, style)?;
        let options = match self.beams {
            Some(count) => {
                let length_penalty = own.length_penalty.unwrap_or(1.0);
                GenerationOptions::beams(count).with_strategy(Strategy::Beams { count, length_penalty })
            }
            None => GenerationOptions::greedy(),
        };
        let first_id = own.first_id.filter(|_| model.base.spec().stack(StackKind::Encoder).is_some());
        let options = options.with_max_new_tokens(self.max_new_tokens).with_first_id(first_id);
        let options = options.with_repetition_penalty(own.repetition_penalty.unwrap_or(1.0));
        Ok(options.with_end_ids(end_ids(model, &own)))
    }
}
