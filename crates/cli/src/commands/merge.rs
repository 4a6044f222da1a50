//! `merge`: merges several adapters into one, from their files alone.

use std::path::{Path, PathBuf};

use burn_adapters_checkpoint::{AdapterFolder, HeadFolder};
use burn_adapters_merging::{MajoritySign, MergeError, Strategy, merge_folders, merge_heads, with_weights};
use clap::{Args, ValueEnum};
use serde_json::json;

use super::model::{checkpoint_error, warn_notes};
use super::output_folder::{Existing, Input, OutputFolder, save_error};
use crate::draw;
use crate::error::{CliError, CliResult, chain};
use crate::output::{self, bytes, shown, thousands};
use crate::progress::Style;

const HELP: &str = "\
Strategies:
  linear                     weighted average of all parameters, for nearly every method; with
                             --no-normalize, task arithmetic (Ilharco et al., 2023). A negative
                             weight does not subtract a LoRA: it multiplies both matrices, and
                             the signs cancel in their product
  lora_linear_only_negate_b  like linear, for LoRA: a negative weight negates only one of the
                             matrices (Zhang et al., 2023)
  lora_delta_w_svd           for LoRA: weighted sum of the updates, decomposed again to --rank;
                             a negative weight subtracts the update. Exact if --rank is the sum
                             of the ranks
  ties                       keep the largest values, elect their signs, average those that agree
                             (Yadav et al., 2023)
  dare_linear, dare_ties     drop values at random, scale up the rest, then add or elect
                             (Yu et al., 2023)

Examples:
  burn-adapters merge films tweets --weights 0.3,0.7 --output both --name both
  burn-adapters merge good bad --weights=1,-0.5 --no-normalize --strategy lora_delta_w_svd \\
    --rank 16 --output better
  burn-adapters merge a b c --strategy ties --density 0.3 --weights 1,1,1 --output merged";

/// Merge several adapters into one. Needs only their files, not the model.
///
/// The adapters must belong to the same base model and have the same configuration. The result costs as much to run as one
/// of them. Prediction heads are averaged with the same weights, if every adapter has one with the same labels.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    /// Adapter folders.
    #[arg(value_name = "DIR", required = true)]
    adapters: Vec<PathBuf>,

    /// Weight of each adapter, separated by commas [default: equal weights that sum to 1].
    #[arg(long, value_name = "W,W,…", value_delimiter = ',', allow_hyphen_values = true)]
    weights: Option<Vec<f64>>,

    /// Merging strategy; see below.
    #[arg(long, value_enum, value_name = "STRATEGY", default_value_t = How::Linear)]
    strategy: How,

    /// Rank of the merged LoRA, for lora_delta_w_svd [default: the first adapter's].
    #[arg(long, value_name = "R")]
    rank: Option<usize>,

    /// Fraction of the values to keep, for ties, dare_linear and dare_ties [default: 0.5].
    #[arg(long, value_name = "PART")]
    density: Option<f64>,

    /// Sign to elect, for ties and dare_ties: the sign of the sum (default) or of the majority of values.
    #[arg(long, value_enum, value_name = "SIGN")]
    majority_sign: Option<Sign>,

    /// Random seed of the dropped values, for dare_linear and dare_ties [default: 42].
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Do not divide the weights by their sum, for linear and the two LoRA strategies.
    #[arg(long)]
    no_normalize: bool,

    /// Leave out the prediction heads.
    #[arg(long)]
    no_head: bool,

    /// Output folder for the merged adapter.
    #[arg(long, value_name = "DIR")]
    output: PathBuf,

    /// Replace the results of an earlier command in OUTPUT.
    #[arg(long)]
    overwrite: bool,

    /// Name of the merged adapter; not empty, without dots.
    #[arg(long, value_name = "NAME", default_value = "merged", value_parser = super::model::parse_name)]
    name: String,

    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// How to merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum How {
    Linear,
    LoraLinearOnlyNegateB,
    LoraDeltaWSvd,
    Ties,
    DareLinear,
    DareTies,
}

/// Which sign is elected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sign {
    Total,
    Frequency,
}

impl Arguments {
    pub(super) fn run(self, style: Style) -> CliResult {
        let existing = if self.overwrite { Existing::Replace } else { Existing::Refuse };
        let inputs: Vec<_> = self.adapters.iter().map(|path| Input { option: "the adapter", path }).collect();
        let output = OutputFolder::open("--output", &self.output, existing, &inputs)?;
        let folders = read_all(&self.adapters)?;
        let strategy = self.strategy(&folders)?;
        folders.iter().for_each(|folder| warn_notes(&folder.meta.name, &folder.notes));
        let names: Vec<String> = folders.iter().map(|folder| folder.meta.name.clone()).collect();
        let inputs = with_weights(folders, self.weights.as_deref()).map_err(|error| merge_error(&error))?;
        let weights: Vec<f64> = inputs.iter().map(|(_, weight)| *weight).collect();
        for (name, weight) in names.iter().zip(&weights) {
            style.say(format_args!("merging {name}, with weight {weight}"));
        }
        let merged = merge_folders(&inputs, &strategy, &self.name).map_err(|error| merge_error(&error))?;
        merged.notes.iter().for_each(|note| draw::warning(note));
        let head = self.head(&weights)?;
        let mut save = output.save()?;
        let saved = merged.stage(&mut save).map_err(|error| checkpoint_error(&error))?;
        saved.notes.iter().for_each(|note| draw::warning(note));
        let head = head.map(|head| head.stage(&mut save)).transpose().map_err(|error| checkpoint_error(&error))?;
        save.commit().map_err(|error| save_error(&error))?;
        if self.json {
            let inputs: Vec<_> = names
                .iter()
                .zip(&weights)
                .zip(&self.adapters)
                .map(|((name, weight), folder)| json!({"name": name, "folder": folder, "weight": weight}))
                .collect();
            return output::json(&json!({
                "name": self.name, "output": self.output, "strategy": strategy.name(), "inputs": inputs,
                "tensors": saved.tensors, "parameters": saved.parameters, "bytes": saved.bytes, "notes": merged.notes,
                "head": head.map(|head| json!({"parameters": head.parameters, "bytes": head.bytes})),
            }));
        }
        output::line(format_args!(
            "merged {} adapters by {strategy}: {} parameters, {}{}",
            names.len(),
            thousands(saved.parameters),
            bytes(saved.bytes),
            if head.is_some() { ", with the average of their heads" } else { ", without a head" }
        ))?;
        output::line(format_args!("saved to {}", shown(self.output.display())))
    }

    /// Rejects options that the strategy does not use: they would be ignored silently.
    fn check_options(&self) -> CliResult {
        use How::{DareLinear, DareTies, LoraDeltaWSvd, Ties};
        let options: [(&str, bool, &[How], &str); 4] = [
            ("--rank", self.rank.is_some(), &[LoraDeltaWSvd], "lora_delta_w_svd"),
            ("--density", self.density.is_some(), &[Ties, DareLinear, DareTies], "ties, dare_linear or dare_ties"),
            ("--majority-sign", self.majority_sign.is_some(), &[Ties, DareTies], "ties or dare_ties"),
            ("--seed", self.seed.is_some(), &[DareLinear, DareTies], "dare_linear or dare_ties"),
        ];
        let unused = options.into_iter().find(|(_, given, of, _)| *given && !of.contains(&self.strategy));
        let Some((option, _, _, strategies)) = unused else { return Ok(()) };
        Err(CliError::mistake(format!("{option} has no effect with this strategy"))
            .with_help(format!("leave it out, or choose --strategy {strategies}")))
    }

    fn strategy(&self, folders: &[AdapterFolder]) -> CliResult<Strategy> {
        self.check_options()?;
        let (normalize, density, seed) = (!self.no_normalize, self.density.unwrap_or(0.5), self.seed.unwrap_or(42));
        let majority_sign = match self.majority_sign.unwrap_or(Sign::Total) {
            Sign::Total => MajoritySign::Total,
            Sign::Frequency => MajoritySign::Frequency,
        };
        Ok(match self.strategy {
            How::Linear => Strategy::Linear { normalize },
            How::LoraLinearOnlyNegateB => Strategy::LoraLinearOnlyNegateB { normalize },
            How::LoraDeltaWSvd => {
                Strategy::LoraDeltaWSvd { rank: self.rank.map_or_else(|| rank(folders), Ok)?, normalize }
            }
            How::Ties => Strategy::Ties { density, majority_sign },
            How::DareLinear => Strategy::DareLinear { density, seed },
            How::DareTies => Strategy::DareTies { density, majority_sign, seed },
        })
    }

    /// The average of the heads, if all adapters have one and their configurations are equal.
    fn head(&self, weights: &[f64]) -> CliResult<Option<HeadFolder>> {
        if self.no_head || !self.adapters.iter().all(HeadFolder::exists) {
            return Ok(None);
        }
        let heads = self.adapters.iter().map(HeadFolder::read).collect::<Result<Vec<_>, _>>();
        let heads = match heads {
            // No merge needs a head, and those of other kinds may be whole.
            Err(error) if error.is_unknown_head() => {
                draw::warning(&format!("the prediction heads are left out: {}", chain(&error)));
                return Ok(None);
            }
            heads => heads.map_err(|error| checkpoint_error(&error))?,
        };
        let inputs: Vec<_> = heads.into_iter().zip(weights.iter().copied()).collect();
        match merge_heads(&inputs, !self.no_normalize, &self.name) {
            Ok(head) => Ok(Some(head)),
            Err(error) => {
                draw::warning(&format!("the prediction heads are left out: {}", chain(&error)));
                Ok(None)
            }
        }
    }
}

fn read_all(dirs: &[PathBuf]) -> CliResult<Vec<AdapterFolder>> {
    let read = |dir: &PathBuf| AdapterFolder::read(Path::new(dir)).map_err(|error| checkpoint_error(&error));
    dirs.iter().map(read).collect()
}

/// The first adapter's rank.
fn rank(folders: &[AdapterFolder]) -> CliResult<usize> {
    let methods = folders.iter().flat_map(|folder| folder.config.methods());
    let rank = methods.into_iter().find_map(|method| match method {
        burn_adapters_config::MethodConfig::Lora(config) => Some(config.r),
        _ => None,
    });
    rank.ok_or_else(|| CliError::mistake("lora_delta_w_svd merges only LoRA, but the first adapter is not one"))
}

/// Adapters that cannot be merged: a user error.
fn merge_error(error: &MergeError) -> CliError {
    let mistake = CliError::mistake(chain(error));
    match error {
        MergeError::WeightSum { .. } => mistake.with_help("--no-normalize uses the weights unchanged"),
        MergeError::WeightCount { .. } => {
            mistake.with_help("--weights takes them separated by commas: --weights 0.3,0.7")
        }
        MergeError::Rank { .. } => mistake.with_help("--rank sets another"),
        MergeError::Svd { .. } => CliError::failure(chain(error)),
        MergeError::Config { .. } => mistake.with_help(
            "adapters are merged if they have one configuration; lora_delta_w_svd also merges LoRA of different ranks, \
             and `--setup 'Average(a, b)'` of `predict` averages the outputs of any adapters without merging them",
        ),
        MergeError::Model { .. } => mistake.with_help("merge adapters that were trained on the same base model"),
        MergeError::Missing { .. } | MergeError::Shape { .. } | MergeError::Malformed { .. } => mistake.with_help(
            "adapters are merged if they have one configuration and base model; `burn-adapters inspect --model MODEL \
             --adapter DIR` shows what an adapter holds",
        ),
        _ => mistake,
    }
}
