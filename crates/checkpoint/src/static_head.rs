//! Heads of Hugging Face's own classes.
//!
//! A model of `adapters.init(BertForSequenceClassification)` has the class's own head, which no configuration describes:
//! `head_config.json` has `config: null` and `name: null`, the labels stand beside. The Python library reads such a head
//! into a model with named heads by a table of classes, and so does this.

use burn_adapters_config::Activation;
use burn_adapters_files::shorten;
use burn_adapters_heads::{HeadConfig, HeadError, HeadType};
use serde_json::{Map, Value, json};

use crate::Tensors;

/// What the head of a class is.
struct Class {
    name: &'static str,
    activation: Option<Activation>,
    use_pooler: bool,
    /// The modules of its linear layers.
    layers: &'static [&'static str],
}

const ONE_LAYER: &[&str] = &["classifier"];
const TWO_LAYERS: &[&str] = &["classifier.dense", "classifier.out_proj"];

const CLASSES: [Class; 5] = [
    Class { name: "BertForSequenceClassification", activation: None, use_pooler: true, layers: ONE_LAYER },
    Class {
        name: "RobertaForSequenceClassification",
        activation: Some(Activation::Tanh),
        use_pooler: false,
        layers: TWO_LAYERS,
    },
    Class {
        name: "XLMRobertaForSequenceClassification",
        activation: Some(Activation::Tanh),
        use_pooler: false,
        layers: TWO_LAYERS,
    },
    Class {
        name: "DistilBertForSequenceClassification",
        activation: Some(Activation::Relu),
        use_pooler: false,
        layers: &["pre_classifier", "classifier"],
    },
    Class {
        name: "ElectraForSequenceClassification",
        activation: Some(Activation::Gelu),
        use_pooler: false,
        layers: TWO_LAYERS,
    },
];

/// The configuration of the head of a class, given what stands in the file beside `config: null`.
pub(crate) fn config(class: Option<&str>, file: &Map<String, Value>) -> Result<HeadConfig, HeadError> {
    let Some(class) = class else {
        let reason = "`config` is null and `model_class` is missing, so it is not known what head this is".to_owned();
        return Err(HeadError::Json { reason });
    };
    let Some(known) = CLASSES.iter().find(|known| known.name == class) else {
        return Err(HeadError::UnknownType { found: shorten(class).into_owned() });
    };
    let beside = |key: &str| file.get(key).cloned().unwrap_or_default();
    let (label2id, id2label) = (beside("label2id"), beside("id2label"));
    let labels = [&label2id, &id2label].into_iter().find_map(|map| map.as_object()).map(Map::len);
    let num_labels = match beside("num_labels") {
        Value::Null => json!(labels.unwrap_or(2)),
        number => number,
    };
    HeadConfig::from_json_value(&json!({
        "head_type": HeadType::Classification.name(),
        "num_labels": num_labels,
        "layers": known.layers.len(),
        "activation_function": known.activation.map(Activation::name),
        "use_pooler": known.use_pooler,
        "label2id": label2id,
        "id2label": id2label,
    }))
}

/// The tensors under the names that a named head's have.
pub(crate) fn rename(class: Option<&str>, config: &HeadConfig, name: &str, tensors: Tensors) -> Tensors {
    let layers = CLASSES.iter().find(|known| Some(known.name) == class).map_or(ONE_LAYER, |known| known.layers);
    let step = if config.activation_function.is_some() { 3 } else { 2 };
    let renamed = |tensor: String| {
        let new = layers.iter().enumerate().find_map(|(index, module)| {
            let parameter = tensor.strip_prefix(module)?.strip_prefix('.')?;
            Some(format!("heads.{name}.{}.{parameter}", index * step + 1))
        });
        new.unwrap_or(tensor)
    };
    tensors.into_iter().map(|(tensor, values)| (renamed(tensor), values)).collect()
}
