//! Writing adapters as folders of PEFT.
//!
//! What is written computes the same in PEFT. A matrix of a fused module (GPT-2's `c_attn`) becomes an update of the whole
//! module: its `A` has the rows of each part's, and its `B` is zero outside of the part.

use std::collections::BTreeMap;

use burn_adapters_config::LoraBias;
use burn_adapters_core::{ModelSpec, RowPosition, Site, StackKind, join_path};
use burn_adapters_files::FolderSave;
use burn_adapters_heads::Head;
use burn_adapters_lora::Diagonal;
use burn_adapters_model::{Adapter, AdapterBank};
use burn_adapters_tensors::{RawTensor, Tensors};
use serde_json::{Map, Value, json};

use super::head;
use super::prefix::Prefix;
use super::targets::{Target, of_site};
use super::{PREFIX, WEIGHTS};
use crate::card::peft_card;
use crate::updates::{Update, Values, methods, updates};
use crate::write::{encode, remove_other};
use crate::{CheckpointError, SaveReport};

/// Settings of an export.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExportOptions {
    /// The name of the base model at Hugging Face, or its folder, where a reader finds it.
    pub base_model: String,
    /// The head to write beside the adapter, if any.
    pub head: Option<String>,
}

/// Adds an adapter of a bank to a save, as PEFT holds it.
///
/// # Errors
/// If PEFT has no such adapter or head, the bank has none of these names, or writing fails.
pub fn stage_peft(
    save: &mut FolderSave,
    bank: &AdapterBank,
    name: &str,
    options: &ExportOptions,
) -> Result<SaveReport, CheckpointError> {
    let (adapter, spec) = (bank.adapter(name)?, bank.spec());
    let refused = |reason| CheckpointError::Export { name: name.to_owned(), format: "PEFT", reason };
    if spec.is_pair {
        return Err(refused("models that are pairs of two have other modules there".to_owned()));
    }
    let head = options.head.as_deref().map(|head| bank.head(head)).transpose()?;
    let task = task(spec, head);
    let mut folder =
        Folder { spec, prefix: class_prefix(spec, task), tensors: Tensors::new(), config: common(options, task) };
    let values = &mut Values::of(adapter)?;
    match methods(adapter).as_slice() {
        ["LoRA"] => folder.lora(updates(adapter, values).map_err(refused)?, adapter),
        ["(IA)³"] => folder.vectors(adapter, values),
        ["VeRA"] => folder.vera(adapter, values),
        ["prefix tuning"] => folder.prefix(adapter),
        ["prompt tuning"] => folder.prompt(adapter, values),
        found => Err(format!(
            "it has {}; PEFT has LoRA, DoRA, VeRA, (IA)³, prefix or prompt tuning, one in an adapter; other programs can use it merged \
             into its model, or as AdapterHub's folder",
            found.join(" and ")
        )),
    }
    .map_err(refused)?;
    let of_head = match head {
        Some(head) => head::write(spec, head, &mut folder.config, refused)?,
        None => Tensors::new(),
    };
    let parameters = adapter.parameters() + head.map_or(0, Head::parameters);
    folder.tensors.extend(of_head.into_iter().map(|(tensor, values)| (format!("{PREFIX}{tensor}"), values)));
    let method = folder.config.get("peft_type").and_then(Value::as_str).unwrap_or_default().to_lowercase();
    let config = format!("{:#}\n", Value::Object(folder.config.clone()));
    let path = save.dir().join(WEIGHTS[0]);
    let bytes = encode(&path, &folder.tensors, &[("format", "pt")])?;
    save.write(WEIGHTS[0], &bytes)?;
    save.write("adapter_config.json", config.as_bytes())?;
    save.write("README.md", peft_card(&options.base_model, &method, task).as_bytes())?;
    let removed = remove_other(save, WEIGHTS[1]);
    Ok(SaveReport {
        files: [WEIGHTS[0], "adapter_config.json", "README.md"].map(|file| save.dir().join(file)).into(),
        tensors: folder.tensors.len(),
        parameters,
        bytes: (bytes.len() + config.len()) as u64,
        removed,
        notes: vec![],
    })
}

/// The task type of PEFT: that of the head, or of the model's language model.
fn task(spec: &ModelSpec, head: Option<&Head>) -> Option<&'static str> {
    let of_model = || match (spec.stack(StackKind::Encoder), spec.row_position) {
        (Some(_), _) if spec.stack(StackKind::Decoder).is_some() => Some("SEQ_2_SEQ_LM"),
        (None, RowPosition::LastToken) => Some("CAUSAL_LM"),
        _ => None,
    };
    match head {
        Some(head) if !head.is_of_model() => head::task(head.config()),
        _ => of_model(),
    }
}

/// The path of the base model in the class of a task.
fn class_prefix(spec: &ModelSpec, task: Option<&str>) -> String {
    match task {
        Some("CAUSAL_LM" | "SEQ_2_SEQ_LM") => spec.hub_prefix.clone(),
        _ => spec.names.prefixed(""),
    }
}

fn common(options: &ExportOptions, task: Option<&str>) -> Map<String, Value> {
    let config = json!({
        "base_model_name_or_path": options.base_model,
        "inference_mode": true,
        "modules_to_save": null,
        "revision": null,
        "task_type": task,
    });
    config.as_object().cloned().unwrap_or_default()
}

/// What is written.
struct Folder<'a> {
    spec: &'a ModelSpec,
    prefix: String,
    tensors: Tensors,
    config: Map<String, Value>,
}

impl Folder<'_> {
    /// The path of a site's module in the class, and the site as a part of it.
    fn module(&self, site: Site, size: [usize; 2]) -> Result<(String, Target), String> {
        let module = self.spec.names.module(site).ok_or_else(|| format!("the matrix at {site} has no name there"))?;
        Ok((join_path(&self.prefix, &module), of_site(site, size, self.spec)))
    }

    fn put(&mut self, name: String, shape: impl Into<Vec<usize>>, values: Vec<f32>) {
        self.tensors.insert(name, RawTensor { shape: shape.into(), values });
    }

    fn set(&mut self, keys: Value) {
        self.config.extend(keys.as_object().cloned().unwrap_or_default());
    }

    fn lora(&mut self, updates: Vec<Update>, adapter: &Adapter) -> Result<(), String> {
        let mut modules: BTreeMap<String, Vec<(Target, Update)>> = BTreeMap::new();
        let is_dora = updates.iter().any(|update| update.magnitude.is_some());
        let bias = updates.iter().find_map(|update| Some(update.bias.as_ref()?.kind)).unwrap_or(LoraBias::None);
        let dropout = adapter.lora.values().map(|lora| lora.dropout).fold(0.0, f64::max);
        for update in updates {
            if is_dora && (update.factor != 1.0 || self.spec.has_bias(update.site)) {
                return Err(format!(
                    "DoRA of AdapterHub is that of PEFT only where `alpha` is `r` and the matrix has no bias; at {} it is not",
                    update.site
                ));
            }
            let (path, target) = self.module(update.site, update.size)?;
            modules.entry(path).or_default().push((target, update));
        }
        // The rank and `alpha` of most modules stand for all, the others have patterns.
        let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
        for parts in modules.values() {
            *counts.entry(rank(parts)).or_default() += 1;
        }
        let usual = counts.into_iter().max_by_key(|(_, count)| *count).map_or(0, |(rank, _)| rank);
        let factor = |parts: &[(Target, Update)]| parts.first().map_or(1.0, |(_, update)| update.factor);
        let usual_factor = modules.values().find(|parts| rank(parts) == usual).map_or(1.0, |parts| factor(parts));
        let (mut ranks, mut alphas) = (Map::new(), Map::new());
        let targets: Vec<String> = modules.keys().cloned().collect();
        for (path, parts) in modules {
            let (rank, alpha) = (rank(&parts), factor(&parts) * rank(&parts) as f64);
            if rank != usual {
                ranks.insert(path.clone(), rank.into());
            }
            if alpha != usual_factor * usual as f64 {
                alphas.insert(path.clone(), whole(alpha));
            }
            self.update(&path, parts, rank)?;
        }
        self.set(json!({
            "peft_type": "LORA", "r": usual, "lora_alpha": whole(usual_factor * usual as f64), "lora_dropout": dropout,
            "target_modules": targets, "rank_pattern": ranks, "alpha_pattern": alphas, "use_dora": is_dora,
            "use_rslora": false, "fan_in_fan_out": false, "init_lora_weights": true,
            "layers_to_transform": null, "layers_pattern": null, "exclude_modules": null,
            "bias": if bias == LoraBias::Base { "lora_only" } else { "none" }, "lora_bias": bias == LoraBias::Update,
        }));
        Ok(())
    }

    /// The update of a module, from those of its parts.
    fn update(&mut self, path: &str, parts: Vec<(Target, Update)>, rank: usize) -> Result<(), String> {
        let Some(Target { size: [d_input, d_output], of, .. }) = parts.first().map(|(target, _)| *target) else {
            return Ok(());
        };
        let kind = parts.iter().find_map(|(_, update)| Some(update.bias.as_ref()?.kind));
        if kind == Some(LoraBias::Base) && parts.len() < of {
            return Err(format!(
                "it trains the bias of some of the {of} matrices that `{path}` computes at once, and PEFT has that of the whole \
                 module; adapt all of them"
            ));
        }
        let mut bias = vec![0.0; of * d_output];
        let mut a = Vec::with_capacity(rank * d_input);
        let mut b = vec![0.0; of * d_output * rank];
        let mut magnitude = Vec::new();
        let mut before = 0;
        for (target, update) in parts {
            for (output, row) in update.b.chunks(update.rank.max(1)).enumerate() {
                let at = (target.part * d_output + output) * rank + before;
                b[at..at + row.len()].copy_from_slice(row);
            }
            before += update.rank;
            for (to, from) in
                bias.iter_mut().skip(target.part * d_output).zip(update.bias.iter().flat_map(|bias| &bias.values))
            {
                *to = *from;
            }
            a.extend(update.a);
            magnitude.extend(update.magnitude.into_iter().flatten());
        }
        self.put(format!("{PREFIX}{path}.lora_A.weight"), [rank, d_input], a);
        self.put(format!("{PREFIX}{path}.lora_B.weight"), [of * d_output, rank], b);
        if !magnitude.is_empty() {
            self.put(format!("{PREFIX}{path}.lora_magnitude_vector"), [magnitude.len()], magnitude);
        }
        let name = match kind {
            Some(LoraBias::Base) => "base_layer.bias",
            Some(LoraBias::Update) => "lora_B.bias",
            Some(LoraBias::None) | None => return Ok(()),
        };
        self.put(format!("{PREFIX}{path}.{name}"), [bias.len()], bias);
        Ok(())
    }

    fn vectors(&mut self, adapter: &Adapter, values: &mut Values) -> Result<(), String> {
        let mut modules: BTreeMap<String, Vec<f32>> = BTreeMap::new();
        for (site, ia3) in adapter.ia3.iter() {
            if ia3.gate.is_some() {
                return Err("it has gates (`use_gating`), which only AdapterHub has".to_owned());
            }
            let [d_input, d_output] = self.spec.matrix(*site).unwrap_or_default();
            let (path, target) = self.module(*site, [d_input, d_output])?;
            // Parts of a module that it does not scale have a factor of 1.
            let all = modules.entry(path).or_insert_with(|| vec![1.0; target.of * d_output]);
            let vector = values.take(&format!("ia3.{}.vector", site.key()));
            for (to, from) in all.iter_mut().skip(target.part * d_output).zip(vector) {
                *to = from * ia3.alpha as f32;
            }
        }
        let targets: Vec<String> = modules.keys().cloned().collect();
        for (path, vector) in modules {
            self.put(format!("{PREFIX}{path}.ia3_l"), [vector.len(), 1], vector);
        }
        self.set(json!({
            "peft_type": "IA3", "target_modules": targets, "feedforward_modules": [], "fan_in_fan_out": false,
            "init_ia3_weights": true, "exclude_modules": null,
        }));
        Ok(())
    }

    fn vera(&mut self, adapter: &Adapter, values: &mut Values) -> Result<(), String> {
        let shared = adapter.vera_shared.as_ref().ok_or("its frozen matrices are missing")?;
        let ([inputs, rank], [_, outputs]) = (shared.a.lazy_shape().dims(), shared.b.lazy_shape().dims());
        let mut dropout = 0.0_f64;
        let mut targets = Vec::new();
        for (site, vera) in adapter.vera.iter() {
            let plain = matches!((&vera.d, &vera.b), (Diagonal::Vector(_), Diagonal::Vector(_)));
            if !plain || vera.gate.is_some() || vera.magnitude.is_some() {
                return Err("it has full matrices in place of vectors, gates or magnitudes, which only AdapterHub has"
                    .to_owned());
            }
            let (path, target) = self.module(*site, vera.shape())?;
            if target.of > 1 {
                return Err(format!("`{path}` computes several matrices at once, of which PEFT has one update"));
            }
            let mut take = |local: &str| values.take(&format!("vera.{}.{local}.Vector", site.key()));
            let (d, mut b) = (take("d"), take("b"));
            b.iter_mut().for_each(|value| *value *= vera.scaling as f32);
            self.put(format!("{PREFIX}{path}.vera_lambda_d"), [d.len()], d);
            self.put(format!("{PREFIX}{path}.vera_lambda_b"), [b.len()], b);
            dropout = dropout.max(vera.dropout);
            targets.push(path);
        }
        let [a, b] = [("vera_shared.a", [inputs, rank]), ("vera_shared.b", [rank, outputs])]
            .map(|(path, size)| crate::updates::transposed(&values.take(path), size));
        self.put("base_model.vera_A".to_owned(), [rank, inputs], a);
        self.put("base_model.vera_B".to_owned(), [outputs, rank], b);
        self.set(json!({
            "peft_type": "VERA", "r": rank, "target_modules": targets, "vera_dropout": dropout, "save_projection": true,
            "projection_prng_key": 0, "d_initial": 0.1, "fan_in_fan_out": false, "bias": "none", "init_weights": true,
            "layers_to_transform": null, "layers_pattern": null,
        }));
        Ok(())
    }

    fn prefix(&mut self, adapter: &Adapter) -> Result<(), String> {
        let Some((kind, tuning)) = adapter.prefix.iter().next() else { return Err("its prefix is missing".to_owned()) };
        let Prefix { layers, heads, head_dim, .. } = Prefix::of(self.spec)?;
        if !tuning.gates.is_empty() {
            return Err("its prefix has gates (`use_gating`), which only AdapterHub has".to_owned());
        }
        if tuning.group.sites.len() != layers {
            return Err("its prefix leaves out layers (`leave_out`), and PEFT has one in each".to_owned());
        }
        // PEFT, too, saves what the MLP computes.
        let flat = adapter.clone().eject_prefixes();
        let mut values =
            Values::of(&flat).map_err(|error| error.to_string())?.take(&format!("prefix.{kind}.source.Flat"));
        let length = tuning.prefix_length;
        Prefix::of(self.spec)?.turn(&mut values, length as f64);
        self.put("prompt_embeddings".to_owned(), [length, layers * 2 * heads * head_dim], values);
        self.set(json!({
            "peft_type": "PREFIX_TUNING", "num_virtual_tokens": length, "token_dim": heads * head_dim,
            "num_transformer_submodules": 1, "num_layers": layers, "num_attention_heads": heads,
            "prefix_projection": false, "encoder_hidden_size": heads * head_dim,
        }));
        Ok(())
    }

    fn prompt(&mut self, adapter: &Adapter, values: &mut Values) -> Result<(), String> {
        super::prompt::check(self.spec)?;
        let prompt = adapter.prompt.as_ref().ok_or("its prompt is missing")?;
        if prompt.combine != burn_adapters_config::PromptCombine::Prefix {
            return Err("its prompt is after the first token, and PEFT's is before it".to_owned());
        }
        let [length, width] = prompt.prompt_embedding.weight.lazy_shape().dims();
        self.put("prompt_embeddings".to_owned(), [length, width], values.take("prompt.prompt_embedding.weight"));
        let stack = self.spec.stacks.first();
        self.set(json!({
            "peft_type": "PROMPT_TUNING", "num_virtual_tokens": length, "token_dim": width,
            "num_transformer_submodules": 1, "num_layers": self.spec.layers(),
            "num_attention_heads": stack.map(|stack| stack.hidden_size / stack.head_dim.max(1)),
            "prompt_tuning_init": "RANDOM", "prompt_tuning_init_text": null, "tokenizer_name_or_path": null,
        }));
        Ok(())
    }
}

/// The rank of a module's update.
fn rank(parts: &[(Target, Update)]) -> usize {
    parts.iter().map(|(_, update)| update.rank).sum()
}

/// A number, without a fraction if it has none.
fn whole(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < 1e15 { (number as i64).into() } else { number.into() }
}
