//! The heads of Hugging Face's classes for tasks, which PEFT saves beside an adapter.

use std::collections::BTreeSet;
use std::path::Path;

use burn_adapters_config::Activation;
use burn_adapters_core::ModelSpec;
use burn_adapters_files::shorten;
use burn_adapters_heads::{Head, HeadConfig, HeadError};
use burn_adapters_tensors::{RawTensor, Tensors, transposed, values};
use serde_json::{Map, Value, json};

use super::settings::get;
use super::{Folder, PREFIX, is_peft, read_config};
use crate::format::path_name;
use crate::head::HeadFolder;
use crate::{CheckpointError, FolderMeta, static_head};

/// The task types whose classes have a head, and the ends of the classes' names.
const CLASSES: [(&str, &str); 3] = [
    ("SEQ_CLS", "ForSequenceClassification"),
    ("TOKEN_CLS", "ForTokenClassification"),
    ("QUESTION_ANS", "ForQuestionAnswering"),
];

/// The modules of heads, in the classes that are known.
const MODULES: [&str; 5] = ["classifier", "score", "qa_outputs", "pre_classifier", "head"];

/// The end of the name of a configuration's class, if it has a head.
fn class_end(config: &Map<String, Value>) -> Option<&'static str> {
    let task = get(config, "task_type")?.as_str()?;
    CLASSES.iter().find(|(name, _)| *name == task).map(|(_, end)| *end)
}

/// The task type of a head.
pub(super) fn task(config: &HeadConfig) -> Option<&'static str> {
    match config.head_type.name() {
        "classification" | "multilabel_classification" => Some("SEQ_CLS"),
        "tagging" => Some("TOKEN_CLS"),
        "question_answering" => Some("QUESTION_ANS"),
        "causal_lm" => Some("CAUSAL_LM"),
        "seq2seq_lm" => Some("SEQ_2_SEQ_LM"),
        _ => None,
    }
}

/// The modules that are saved whole.
fn saved(config: &Map<String, Value>) -> Vec<&str> {
    let list = get(config, "modules_to_save").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Whether a folder of PEFT has a head.
pub(crate) fn has_head(dir: &Path) -> bool {
    is_peft(dir) && read_config(dir).is_ok_and(|(_, config)| class_end(&config).is_some() && !saved(&config).is_empty())
}

/// Checks that the modules that are saved whole are those of a head.
pub(super) fn check(config: &Map<String, Value>) -> Result<(), String> {
    let of_head = |module: &&str| class_end(config).is_some() && MODULES.contains(module);
    match saved(config).into_iter().find(|module| !of_head(module)) {
        None => Ok(()),
        Some(module) => Err(format!(
            "it trained `{}` whole (`modules_to_save`), which is no head of a class for a task (task_type {}); {}",
            shorten(module),
            CLASSES.map(|(task, _)| task).join(", "),
            super::settings::REMEDY
        )),
    }
}

/// Whether a tensor is one of the head's.
fn is_of_head(name: &str, saved: &[&str]) -> bool {
    let module = name.strip_prefix(PREFIX).unwrap_or(name).split('.').next();
    module.is_some_and(|module| saved.contains(&module))
}

/// Takes the head's tensors out of those of the adapter; a note if there were any.
pub(super) fn take(config: &Map<String, Value>, tensors: &mut Tensors) -> Option<String> {
    let (saved, all) = (saved(config), tensors.len());
    tensors.retain(|name, _| !is_of_head(name, &saved));
    (tensors.len() < all).then(|| "its head is read apart".to_owned())
}

/// The class of a model for a task.
fn class(spec: &ModelSpec, end: &str) -> String {
    let model = spec.names.model_class.and_then(|class| class.strip_suffix("AdapterModel"));
    format!("{}{end}", model.unwrap_or_default())
}

/// Reads the head in a folder of PEFT, as that of the class that the model and the task have.
pub(crate) fn read_head(dir: &Path, spec: &ModelSpec) -> Result<HeadFolder, CheckpointError> {
    let folder = Folder::read(dir)?;
    let end = class_end(&folder.config).ok_or_else(|| {
        folder.wrong(format!(
            "it has no head: expected task_type to be one of {}; load the adapter without a head",
            CLASSES.map(|(task, _)| task).join(", ")
        ))
    })?;
    let class = class(spec, end);
    let saved = saved(&folder.config);
    let plain = |name: &str| name.strip_prefix(PREFIX).unwrap_or(name).to_owned();
    let of_head = folder.tensors.iter().filter(|(name, _)| is_of_head(name, &saved));
    let tensors: Tensors = of_head.map(|(name, tensor)| (plain(name), tensor.clone())).collect();
    // The number of labels is only in the shape of the last layer.
    let last = static_head::layers(&class).last().copied().unwrap_or_default();
    let labels = tensors.get(&format!("{last}.weight")).and_then(|tensor| tensor.shape.first().copied());
    let config = config_of(&class, labels)
        .map_err(|source| CheckpointError::Head { path: folder.config_path.clone(), source })?;
    let name = path_name(dir);
    let tensors = static_head::rename(Some(&class), &config, &name, tensors);
    let meta = FolderMeta {
        name,
        model_type: Some(spec.model_type.clone()),
        hidden_size: Some(spec.hidden_size),
        model_name: None,
        model_class: Some(class),
        version: None,
    };
    Ok(HeadFolder::of_class(meta, config, tensors, [folder.config_path, folder.weights_path]))
}

/// The configuration of the head of a class.
fn config_of(class: &str, labels: Option<usize>) -> Result<HeadConfig, HeadError> {
    if static_head::layers(class).is_empty() {
        return Err(HeadError::UnknownType { found: class.to_owned() });
    }
    let labels = labels.map(|labels| ("num_labels".to_owned(), labels.into()));
    static_head::config(Some(class), &labels.into_iter().collect(), |_| None)
}

/// The tensors of a head under the names of the class for its task, which goes to the configuration. A head that is the
/// model's own has none.
///
/// # Errors
/// The reason why the class has no such head.
pub(super) fn write(
    spec: &ModelSpec,
    head: &Head,
    config: &mut Map<String, Value>,
    refused: impl Fn(String) -> CheckpointError,
) -> Result<Tensors, CheckpointError> {
    if head.is_of_model() {
        return Ok(Tensors::new());
    }
    let own = head.config();
    let end = task(own).and_then(|task| CLASSES.iter().find(|(name, _)| *name == task));
    let class = end.map(|(_, end)| class(spec, end));
    let layers = class.as_deref().map(static_head::layers).unwrap_or_default();
    let expected = class.as_deref().and_then(|class| config_of(class, Some(own.num_labels)).ok());
    let shape = |config: &HeadConfig| (config.layers, config.activation_function, config.use_pooler, config.bias);
    if expected.as_ref().map(shape) != Some(shape(own)) {
        let expected = match (class, expected) {
            (Some(class), Some(config)) => format!("that of {class} has {}", described(&config)),
            _ => "no class of Hugging Face has one that is known".to_owned(),
        };
        return Err(refused(format!(
            "its {} head has {}, and {expected}; export the adapter without its head, or train one of these layers",
            own.task(),
            described(own)
        )));
    }
    let mut values =
        values(head, |path| Some(path.to_string())).map_err(|error| CheckpointError::Device(error.to_string()))?;
    let mut tensors = Tensors::new();
    for (index, layer) in layers.iter().enumerate() {
        let own = if index + 1 == layers.len() { "output".to_owned() } else { format!("hidden_layers.{index}") };
        for kind in ["weight", "bias"] {
            let Some(data) = values.remove(&format!("{own}.{kind}")) else { continue };
            let data = if kind == "weight" { transposed(data.convert::<f32>()) } else { data.convert::<f32>() };
            let shape = data.shape().to_vec();
            let values = data.try_into_vec::<f32>().unwrap_or_default();
            tensors.insert(format!("{layer}.{kind}"), RawTensor { shape, values });
        }
    }
    let modules: BTreeSet<&str> = layers.iter().filter_map(|layer| layer.split('.').next()).collect();
    config.insert("modules_to_save".to_owned(), json!(modules));
    Ok(tensors)
}

/// The layers of a head, in words.
fn described(config: &HeadConfig) -> String {
    let layers = match config.layers {
        1 => "1 layer".to_owned(),
        layers => format!("{layers} layers"),
    };
    let activation = config.activation_function.map_or("no activation", Activation::name);
    let bias = if config.bias { "a bias" } else { "no bias" };
    format!("{layers}, {activation}, {bias}{}", if config.use_pooler { ", on the pooled output" } else { "" })
}
