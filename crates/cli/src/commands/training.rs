//! The parts that are trained, with their data, how they are saved, and how they are reported.

use burn_adapters_checkpoint::{SaveOptions, SaveReport, stage_fusion, stage_head, stage_setup};
use burn_adapters_composition::{Composition, HeadSetup};
use burn_adapters_fusion::FusionConfig;
use burn_adapters_heads::{Head, HeadConfig};
use burn_adapters_model::{AdapterBank, Setup};
use burn_adapters_train::{Dataset, Lengths, TokenData};
use serde_json::{Map, Value, json};

use super::job::{Run, Saved, stage_history};
use super::model::{Model, bank_error, checkpoint_error, tokenize, train_error};
use super::output_folder::{OutputFolder, keep_state, save_error};
use super::plan::{Plan, Shape};
use super::preference::with_reference;
use crate::draw;
use crate::error::{CliError, CliResult};
use crate::output::{bytes, thousands};
use crate::progress::Style;

/// Labeled data of each head, in the order of the heads.
pub(super) type Labeled = Vec<(String, Dataset)>;

/// An adapter that is trained with its head.
pub(super) struct Part {
    pub(super) name: String,
    /// Whether it was loaded, so that its training continues.
    pub(super) loaded: bool,
    pub(super) head_loaded: bool,
}

/// Everything that is trained, in its bank.
pub(super) struct Training {
    pub(super) plan: Plan,
    pub(super) bank: AdapterBank,
    pub(super) setup: Setup,
    /// Empty if fusions are trained.
    pub(super) parts: Vec<Part>,
    /// The fusions that are trained, with the number of their parameters.
    pub(super) fusions: Vec<(String, usize)>,
    /// The configuration of each head, in the order of the plan's names.
    pub(super) heads: Vec<HeadConfig>,
}

/// The saved files, for display and for JSON.
#[derive(Default)]
pub(super) struct Written {
    pub(super) summary: String,
    pub(super) bytes: Value,
    /// Further files.
    pub(super) files: Vec<&'static str>,
    /// Warnings for the user.
    pub(super) warnings: Vec<String>,
}

/// How texts become tokens.
#[derive(Debug, Clone, Copy)]
pub(super) struct TokenOptions {
    pub(super) lengths: Lengths,
    /// In preference optimization, how strongly the trained model is tied to the reference model.
    pub(super) beta: Option<f64>,
    /// The pairs that the reference model reads together.
    pub(super) batch_size: usize,
    pub(super) style: Style,
}

impl Training {
    /// The texts as tokens, with the labels of each head.
    pub(super) fn tokens(&self, model: &Model, data: &Labeled, options: &TokenOptions) -> CliResult<TokenData> {
        let mut all = data.iter().zip(&self.heads);
        let Some(((_, first), head)) = all.next() else { return Err(CliError::mistake("there is no head to train")) };
        let mut tokens = tokenize(model, first, head, options.lengths)?;
        if let Some(beta) = options.beta {
            tokens = with_reference(tokens, model, beta, options.batch_size, options.style)?;
        }
        for ((name, data), head) in all {
            if let Some(labels) = tokens.targets(data, head).map_err(|error| train_error(&error))? {
                tokens = tokens.with_head_labels(name, labels).map_err(|error| train_error(&error))?;
            }
        }
        Ok(tokens)
    }

    fn adapter_parameters(&self, name: &str) -> usize {
        self.bank.adapter(name).map_or(0, |adapter| adapter.parameters())
    }

    /// Whether the head is the model's own output layer.
    fn uses_model_head(&self) -> bool {
        self.plan.names().into_iter().any(|name| self.bank.head(name).is_ok_and(Head::is_of_model))
    }

    fn head_summary(&self, size: u64) -> String {
        if self.uses_model_head() {
            "no head (the model's own output layer predicts)".into()
        } else {
            format!("head {}", bytes(size))
        }
    }

    fn head_parameters(&self, name: &str) -> usize {
        self.bank.head(name).map_or(0, |head| head.parameters())
    }

    /// Saves the trained parts, the history, the learning curve and the last checkpoint atomically.
    pub(super) fn save(&self, run: &Run, output: &OutputFolder, model: &str) -> CliResult<Written> {
        let mut save = output.save()?;
        let (bank, options) = (&run.trained.bank, SaveOptions::new(model));
        let failed = |error| checkpoint_error(&error);
        let sum = |reports: &[SaveReport]| reports.iter().map(|report| report.bytes).sum::<u64>();
        let names = self.plan.names();
        let first = names.first().copied().unwrap_or_default();
        let mut whole = |composition: &Composition, heads: &HeadSetup| -> CliResult<Written> {
            // Nothing of the model's own output layer is saved.
            let heads = Some(heads).filter(|_| !self.uses_model_head());
            let reports = stage_setup(&mut save, bank, composition, heads, &options).map_err(failed)?;
            reports.iter().flat_map(|report| &report.notes).for_each(|note| draw::warning(note));
            let summary = format!("setup {composition} {} (predict --setup reads it)", bytes(sum(&reports)));
            Ok(Written { summary, bytes: json!({"setup": sum(&reports)}), ..Written::default() })
        };
        let mut written = match (self.plan.shape, &self.plan.composition) {
            (Shape::Branches, Some(composition)) => whole(composition, &self.plan.heads)?,
            (Shape::Fusion, Some(composition)) if self.fusions.len() > 1 => whole(composition, &self.plan.heads)?,
            (Shape::Fusion, _) => {
                let name = self.fusions.first().map(|(name, _)| name.as_str()).unwrap_or_default();
                let fusion = stage_fusion(&mut save, bank, name, &options).map_err(failed)?;
                fusion.notes.iter().for_each(|note| draw::warning(note));
                let fusion = fusion.bytes;
                let head = stage_head(&mut save, bank, first, &options).map_err(failed)?.bytes;
                let summary = format!("fusion {}, {}", bytes(fusion), self.head_summary(head));
                Written { summary, bytes: json!({"fusion": fusion, "head": head}), ..Written::default() }
            }
            _ => {
                let Saved { adapter, head } = Saved::stage(&mut save, bank, first, &options)?;
                let summary = format!("adapter {}, {}", bytes(adapter.bytes), self.head_summary(head.bytes));
                let bytes = json!({"adapter": adapter.bytes, "head": head.bytes});
                Written { summary, bytes, ..Written::default() }
            }
        };
        (written.files, written.warnings) = stage_history(&mut save, &run.trained, self.title(model))?;
        keep_state(&mut save, run.trained.checkpoint.as_deref())?;
        save.commit().map_err(|error| save_error(&error))?;
        Ok(written)
    }

    fn title(&self, model: &str) -> String {
        let name = self.plan.names().first().copied().unwrap_or_default();
        match (self.plan.shape, &self.plan.composition, self.bank.adapter(name)) {
            (Shape::One, _, Ok(adapter)) => format!("{name}: {} on {model}", adapter.config()),
            (_, Some(composition), _) => format!("{composition} on {model}"),
            _ => model.to_owned(),
        }
    }

    /// The trained parts, in words.
    pub(super) fn summary(&self) -> String {
        let names = self.plan.names();
        let first = names.first().copied().unwrap_or_default();
        match self.plan.shape {
            Shape::One => format!(
                "{} parameters (adapter) and {} (head)",
                thousands(self.adapter_parameters(first)),
                thousands(self.head_parameters(first))
            ),
            Shape::Branches => {
                let part = |part: &Part| {
                    let age = |loaded: bool| if loaded { "loaded" } else { "new" };
                    let (adapter, head) = (self.adapter_parameters(&part.name), self.head_parameters(&part.name));
                    format!(
                        "{} ({} adapter of {} parameters, {} head of {})",
                        part.name,
                        age(part.loaded),
                        thousands(adapter),
                        age(part.head_loaded),
                        thousands(head)
                    )
                };
                self.parts.iter().map(part).collect::<Vec<_>>().join(", ")
            }
            Shape::Fusion => format!(
                "{} parameters (fusion) and {} (head `{first}`)",
                thousands(self.fusions.iter().map(|(_, parameters)| parameters).sum()),
                thousands(self.head_parameters(first))
            ),
        }
    }

    /// The trained parts, as JSON.
    pub(super) fn json(&self) -> Map<String, Value> {
        let names = self.plan.names();
        let first = names.first().copied().unwrap_or_default();
        let value = match self.plan.shape {
            Shape::One => json!({
                "name": first, "adapter_parameters": self.adapter_parameters(first),
                "head_parameters": self.head_parameters(first),
                "loaded": self.parts.iter().any(|part| part.loaded),
                "head_loaded": self.parts.iter().any(|part| part.head_loaded),
            }),
            Shape::Branches => {
                let part = |part: &Part| {
                    let (adapter, head) = (self.adapter_parameters(&part.name), self.head_parameters(&part.name));
                    let value = json!({"adapter_parameters": adapter, "head_parameters": head, "loaded": part.loaded,
                        "head_loaded": part.head_loaded});
                    (part.name.clone(), value)
                };
                json!({"adapters": self.parts.iter().map(part).collect::<Map<_, _>>()})
            }
            Shape::Fusion => {
                let fusions = self.fusions.iter().map(|(name, parameters)| (name.clone(), json!(parameters)));
                json!({"fusions": fusions.collect::<Map<_, _>>(), "head": first,
                    "head_parameters": self.head_parameters(first)})
            }
        };
        value.as_object().cloned().unwrap_or_default()
    }
}

/// Adds the fusions of a composition, whose adapters are loaded; returns their names and parameters.
pub(super) fn add_fusions(
    bank: &mut AdapterBank,
    composition: &Composition,
    config: &FusionConfig,
    seed: u64,
) -> CliResult<Vec<(String, usize)>> {
    if !config.trains() {
        draw::warning("a fusion without key, query and value has nothing to learn: only the head is trained");
    }
    let mut fuses: Vec<(String, Vec<&str>)> = Vec::new();
    composition.visit(&mut |part| {
        if let Some(name) = part.fusion_name()
            && fuses.iter().all(|(other, _)| *other != name)
        {
            fuses.push((name, part.children().iter().filter_map(Composition::last).collect()));
        }
    });
    let mut fusions = Vec::new();
    for (index, (name, adapters)) in fuses.into_iter().enumerate() {
        let added = bank.add_fusion(&name, &adapters, config, seed.wrapping_add(index as u64));
        fusions.push((name, added.map_err(|error| bank_error(&error))?));
    }
    Ok(fusions)
}
