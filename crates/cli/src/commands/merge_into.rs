//! `merge-into`: adapters merged into the weights of a model, as a model's folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use burn_adapters_checkpoint::{HeadFolder, load_adapter};
use burn_adapters_model::{AdapterBank, BankError, MergedModel};
use burn_adapters_transformers::{Bert, LoadError};
use clap::Args;
use serde_json::{Value, json};

use super::model::{bank_error, checkpoint_error, model_config_error};
use super::setup::named;
use crate::draw;
use crate::error::{CliError, CliResult, chain};
use crate::output::{self, bytes, shown, thousands};
use crate::progress::Style;

const HELP: &str = "\
LoRA, DoRA, VeRA, MTL-LoRA and (IA)³ can be merged; bottlenecks, prefixes, prompts, ReFT and gates cannot, because no
weight stands for them. Several adapters are merged one after the other, as `Stack` runs them.

The output is a folder as Hugging Face stores a model: its configuration and tokenizer are those of the input, its
weights have the same names, in f32. A prediction head is not part of a base model: each adapter's is saved in
`heads/NAME` of the output.

Examples:
  burn-adapters merge-into --model all-MiniLM-L6-v2 --adapter reviews --output merged
  burn-adapters merge-into --model all-MiniLM-L6-v2 --adapter german --adapter reviews --output merged --overwrite";

/// The files of a model's folder that are copied: configurations, and whatever its tokenizer reads.
const COPIED: [&str; 11] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
];

/// Merge adapters into the weights of a model, and write it as a folder of its own.
///
/// The result needs no adapters: any program that reads Hugging Face's folders runs it, as fast as the base model.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    /// The model's folder.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,

    /// An adapter's folder; may be given several times.
    #[arg(long, value_name = "[NAME=]DIR", required = true)]
    adapter: Vec<String>,

    /// Where to write the merged model.
    #[arg(long, value_name = "DIR")]
    output: PathBuf,

    /// Replace the output folder if it holds anything.
    #[arg(long)]
    overwrite: bool,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Arguments {
    pub(super) fn run(self, style: Style) -> CliResult {
        self.check_output()?;
        let spec = super::model::read_spec(&self.model)?;
        let device = Device::default();
        let mut bank = AdapterBank::new(spec, &device);
        let mut names = Vec::new();
        for text in &self.adapter {
            let (name, dir) = named(text);
            let report = load_adapter(dir, &mut bank, name).map_err(|error| checkpoint_error(&error))?;
            style.say(&report);
            names.push((report.name, dir));
        }
        let (mut bert, report) =
            Bert::from_dir(&self.model, &device).map_err(|error| load_error(&self.model, &error))?;
        style.say(format_args!("loaded {} parameters", thousands(report.parameters)));
        for (name, _) in &names {
            let adapter = bank.adapter(name).map_err(|error| bank_error(&error))?;
            let merged = MergedModel::merge(bert, adapter).map_err(|failure| merge_error(&failure.error))?;
            bert = Bert::clone(&merged);
        }
        let beside = Beside::new(&self.output)?;
        let saved = bert.save(&self.model, &beside.path.join("model.safetensors"));
        let saved = saved.map_err(|error| CliError::failure(chain(&error)))?;
        self.copy_files(&beside.path)?;
        let heads = copy_heads(&names, &beside.path)?;
        beside.replace(&self.output)?;
        if saved.widened > 0 {
            draw::warning(&format!(
                "{} tensors of the model are not f32; the merged model is f32 throughout",
                saved.widened
            ));
        }
        if self.json {
            let adapters: Vec<Value> = names.iter().map(|(name, dir)| json!({"name": name, "folder": dir})).collect();
            return output::json(&json!({
                "output": self.output, "model": self.model, "adapters": adapters, "tensors": saved.tensors,
                "changed": saved.changed, "parameters": saved.parameters, "bytes": saved.bytes, "heads": heads,
            }));
        }
        output::line(format_args!(
            "merged {} into {}: {} of {} tensors changed, {} parameters, {}",
            shown(names.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")),
            shown(super::model::folder_name(&self.model)),
            saved.changed,
            saved.tensors,
            thousands(saved.parameters),
            bytes(saved.bytes)
        ))?;
        for head in &heads {
            output::line(format_args!(
                "its prediction head is not part of the model: saved to {}",
                shown(self.output.join(head).display())
            ))?;
        }
        output::line(format_args!("saved to {}", shown(self.output.display())))
    }

    /// What is there is not replaced unless that is asked for; what is read never is.
    fn check_output(&self) -> CliResult {
        let inputs = self.adapter.iter().map(|text| named(text).1).chain([self.model.as_path()]);
        let Ok(output) = self.output.canonicalize() else { return Ok(()) };
        for input in inputs {
            if input.canonicalize().is_ok_and(|input| input.starts_with(&output)) {
                return Err(CliError::mistake(format!(
                    "--output {} is or holds {}, which is read",
                    self.output.display(),
                    input.display()
                ))
                .with_help("choose another folder: what is merged stays as it is"));
            }
        }
        let mut entries = fs::read_dir(&output).map_err(|error| CliError::io("write to", &self.output, &error))?;
        if entries.next().is_some() && !self.overwrite {
            return Err(CliError::mistake(format!("the folder {} is not empty", self.output.display()))
                .with_help("--overwrite replaces it"));
        }
        Ok(())
    }

    fn copy_files(&self, to: &Path) -> CliResult {
        for name in COPIED.into_iter().chain(["1_Pooling/config.json"]) {
            let (from, to) = (self.model.join(name), to.join(name));
            if from.is_file() {
                if let Some(parent) = to.parent() {
                    fs::create_dir_all(parent).map_err(|error| CliError::io("make the folder", parent, &error))?;
                }
                fs::copy(&from, &to).map_err(|error| CliError::io("copy", &from, &error))?;
            }
        }
        let (from, to) = (self.model.join("config.json"), to.join("config.json"));
        let text = fs::read_to_string(&from).map_err(|error| CliError::io("read", &from, &error))?;
        fs::write(&to, with_f32(&text)).map_err(|error| CliError::io("write", &to, &error))
    }
}

/// The configuration, with the type that the weights now have.
fn with_f32(config: &str) -> String {
    let Ok(Value::Object(mut map)) = serde_json::from_str(config) else { return config.to_owned() };
    let mut changed = false;
    for key in ["torch_dtype", "dtype"] {
        if let Some(value) = map.get_mut(key).filter(|value| value.as_str() != Some("float32")) {
            *value = "float32".into();
            changed = true;
        }
    }
    if changed { format!("{:#}\n", Value::Object(map)) } else { config.to_owned() }
}

/// Copies the adapters' prediction heads, and tells where they are.
fn copy_heads(names: &[(String, &Path)], to: &Path) -> CliResult<Vec<PathBuf>> {
    let mut copied = Vec::new();
    for (name, dir) in names.iter().filter(|(_, dir)| HeadFolder::exists(dir)) {
        let head = match HeadFolder::read(dir) {
            Ok(head) => head,
            Err(error) => {
                draw::warning(&format!("the prediction head of {name} is left out: {}", chain(&error)));
                continue;
            }
        };
        // A name may hold what a path must not.
        let plain: String =
            name.chars().map(|c| if c.is_alphanumeric() || "-_ ".contains(c) { c } else { '_' }).collect();
        let path = Path::new("heads").join(plain);
        head.write(to.join(&path)).map_err(|error| checkpoint_error(&error))?;
        copied.push(path);
    }
    Ok(copied)
}

fn load_error(dir: &Path, error: &LoadError) -> CliError {
    match error {
        LoadError::Config(error) => model_config_error(dir, error),
        error => CliError::mistake(chain(error)),
    }
}

fn merge_error(error: &BankError) -> CliError {
    match error {
        BankError::NotMergeable { .. } => bank_error(error).with_help(
            "LoRA, DoRA, VeRA, MTL-LoRA and (IA)³ can be merged into weights; use other adapters beside the model",
        ),
        error => bank_error(error),
    }
}

/// A folder that is written beside the one whose place it takes.
struct Beside {
    path: PathBuf,
    done: bool,
}

impl Beside {
    fn new(output: &Path) -> CliResult<Self> {
        let output = std::path::absolute(output).map_err(|error| CliError::io("write to", output, &error))?;
        let failed = |error: io::Error| CliError::io("make the folder", &output, &error);
        let (Some(parent), Some(name)) = (output.parent(), output.file_name()) else {
            return Err(CliError::mistake(format!("--output {} cannot be a model's folder", output.display())));
        };
        fs::create_dir_all(parent).map_err(failed)?;
        let name = format!(".saving-{}-{}", name.to_string_lossy(), std::process::id());
        let path = parent.join(name);
        fs::create_dir(&path).map_err(failed)?;
        Ok(Self { path, done: false })
    }

    /// Puts it in the place of `output`.
    fn replace(mut self, output: &Path) -> CliResult {
        let failed = |error: io::Error| CliError::io("write", output, &error);
        let old = self.path.with_extension("old");
        let replaced = match fs::rename(output, &old) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(failed(error)),
        };
        if let Err(error) = fs::rename(&self.path, output) {
            if replaced {
                // The first error is the one to tell.
                let _ = fs::rename(&old, output);
            }
            return Err(failed(error));
        }
        self.done = true;
        if replaced { fs::remove_dir_all(&old).map_err(|error| CliError::io("delete", &old, &error)) } else { Ok(()) }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if !self.done {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_of_the_weights_is_that_of_the_file() {
        assert!(with_f32(r#"{"torch_dtype": "float16"}"#).contains("float32"));
        assert_eq!(with_f32(r#"{ "torch_dtype":"float32" }"#), r#"{ "torch_dtype":"float32" }"#);
    }
}
