//! The heads of Hugging Face's own classes.
//!
//! A model of `adapters.init(BertForSequenceClassification)` has the head of that class, which has no configuration:
//! `head_config.json` has `config: null` and `name: null`, and the labels as further keys. The Python library has a table
//! of classes to read such a head into a model with named heads, and so does this crate.

use burn_adapters_config::Activation;
use burn_adapters_files::shorten;
use burn_adapters_heads::{HeadConfig, HeadError, Transform};
use serde_json::{Map, Value, json};

use crate::Tensors;

/// The head of a class.
struct Class {
    name: &'static str,
    head_type: &'static str,
    activation: Option<Activation>,
    /// Whether the head reads the pooled output; `None` for types of heads that never do.
    use_pooler: Option<bool>,
    /// Whether its layers have biases.
    bias: bool,
    /// The modules of its linear layers.
    layers: &'static [&'static str],
    /// The norm after the first of them: in heads of masked language models, and in others with a [`Transform`].
    norm: Option<&'static str>,
    /// A second name of the last layer's bias.
    second_bias: &'static str,
}

const ONE_LAYER: &[&str] = &["classifier"];
const TWO_LAYERS: &[&str] = &["classifier.dense", "classifier.out_proj"];

impl Class {
    const fn of_texts(name: &'static str, activation: Activation) -> Self {
        Self {
            name,
            head_type: "classification",
            activation: Some(activation),
            use_pooler: Some(false),
            bias: true,
            layers: TWO_LAYERS,
            norm: None,
            second_bias: "",
        }
    }

    const fn of_tokens(name: &'static str) -> Self {
        Self {
            name,
            head_type: "tagging",
            activation: None,
            use_pooler: None,
            bias: true,
            layers: ONE_LAYER,
            norm: None,
            second_bias: "",
        }
    }

    /// Of masked language models, which the Python library trains beside an adapter.
    const fn of_masks(name: &'static str, layers: &'static [&'static str], norm: &'static str) -> Self {
        let (activation, norm) = (Some(Activation::Gelu), Some(norm));
        Self { head_type: "masked_lm", activation, layers, norm, ..Self::of_tokens(name) }
    }

    const fn of_bert_masks(name: &'static str) -> Self {
        let layers = &["cls.predictions.transform.dense", "cls.predictions.decoder"];
        let class = Self::of_masks(name, layers, "cls.predictions.transform.LayerNorm");
        Self { second_bias: "cls.predictions.bias", ..class }
    }

    const fn of_roberta_masks(name: &'static str) -> Self {
        let class = Self::of_masks(name, &["lm_head.dense", "lm_head.decoder"], "lm_head.layer_norm");
        Self { second_bias: "lm_head.bias", ..class }
    }

    /// Of decoders.
    const fn of_last_token(name: &'static str) -> Self {
        let use_pooler = Some(false);
        Self { head_type: "classification", use_pooler, bias: false, layers: &["score"], ..Self::of_tokens(name) }
    }

    const fn of_answers(name: &'static str) -> Self {
        Self { head_type: "question_answering", layers: &["qa_outputs"], ..Self::of_tokens(name) }
    }

    /// Of ModernBERT, whose heads begin with a [`Transform`]; its activation is that of the model.
    const fn transformed(self) -> Self {
        let (activation, use_pooler) = match self.use_pooler {
            Some(_) => (Some(Activation::Gelu), Some(false)),
            None => (Some(Activation::Gelu), None),
        };
        Self { activation, use_pooler, layers: &["head.dense", "classifier"], norm: Some("head.norm"), ..self }
    }

    /// A layer on the pooled output.
    const fn of_choices(name: &'static str) -> Self {
        Self { head_type: "multiple_choice", use_pooler: Some(true), ..Self::of_tokens(name) }
    }
}

const CLASSES: &[Class] = &[
    Class {
        activation: None,
        use_pooler: Some(true),
        layers: ONE_LAYER,
        ..Class::of_texts("BertForSequenceClassification", Activation::Tanh)
    },
    Class {
        activation: None,
        use_pooler: Some(true),
        layers: ONE_LAYER,
        ..Class::of_texts("AlbertForSequenceClassification", Activation::Tanh)
    },
    Class::of_texts("RobertaForSequenceClassification", Activation::Tanh),
    Class::of_texts("XLMRobertaForSequenceClassification", Activation::Tanh),
    Class::of_texts("XmodForSequenceClassification", Activation::Tanh),
    Class::of_texts("ElectraForSequenceClassification", Activation::Gelu),
    Class {
        layers: &["pre_classifier", "classifier"],
        ..Class::of_texts("DistilBertForSequenceClassification", Activation::Relu)
    },
    Class::of_last_token("GPT2ForSequenceClassification"),
    Class::of_last_token("GPTJForSequenceClassification"),
    Class::of_last_token("LlamaForSequenceClassification"),
    Class::of_last_token("MistralForSequenceClassification"),
    Class::of_last_token("Qwen2ForSequenceClassification"),
    Class::of_last_token("Qwen3ForSequenceClassification"),
    Class::of_last_token("PhiForSequenceClassification"),
    Class::of_last_token("Gemma2ForSequenceClassification"),
    Class::of_last_token("Gemma3TextForSequenceClassification"),
    Class {
        layers: &["pooler.dense", "classifier"],
        ..Class::of_texts("DebertaForSequenceClassification", Activation::Gelu)
    },
    Class {
        layers: &["pooler.dense", "classifier"],
        ..Class::of_texts("DebertaV2ForSequenceClassification", Activation::Gelu)
    },
    Class::of_tokens("BertForTokenClassification"),
    Class::of_tokens("AlbertForTokenClassification"),
    Class::of_tokens("RobertaForTokenClassification"),
    Class::of_tokens("XLMRobertaForTokenClassification"),
    Class::of_tokens("XmodForTokenClassification"),
    Class::of_tokens("DebertaForTokenClassification"),
    Class::of_tokens("DebertaV2ForTokenClassification"),
    Class::of_tokens("ElectraForTokenClassification"),
    Class::of_tokens("DistilBertForTokenClassification"),
    Class::of_answers("BertForQuestionAnswering"),
    Class::of_answers("AlbertForQuestionAnswering"),
    Class::of_answers("RobertaForQuestionAnswering"),
    Class::of_answers("XLMRobertaForQuestionAnswering"),
    Class::of_answers("XmodForQuestionAnswering"),
    Class::of_answers("ElectraForQuestionAnswering"),
    Class::of_answers("DistilBertForQuestionAnswering"),
    Class::of_answers("DebertaForQuestionAnswering"),
    Class::of_answers("DebertaV2ForQuestionAnswering"),
    Class::of_answers("BartForQuestionAnswering"),
    Class::of_answers("MBartForQuestionAnswering"),
    Class::of_answers("T5ForQuestionAnswering"),
    Class::of_answers("MT5ForQuestionAnswering"),
    Class::of_answers("GPT2ForQuestionAnswering"),
    Class::of_answers("GPTJForQuestionAnswering"),
    Class::of_answers("LlamaForQuestionAnswering"),
    Class::of_answers("MistralForQuestionAnswering"),
    Class::of_choices("BertForMultipleChoice"),
    Class::of_choices("AlbertForMultipleChoice"),
    Class::of_choices("RobertaForMultipleChoice"),
    Class::of_choices("XLMRobertaForMultipleChoice"),
    Class::of_choices("XmodForMultipleChoice"),
    Class {
        activation: Some(Activation::Gelu),
        use_pooler: Some(false),
        layers: &["sequence_summary.summary", "classifier"],
        ..Class::of_choices("ElectraForMultipleChoice")
    },
    Class {
        activation: Some(Activation::Relu),
        use_pooler: Some(false),
        layers: &["pre_classifier", "classifier"],
        ..Class::of_choices("DistilBertForMultipleChoice")
    },
    Class::of_texts("ModernBertForSequenceClassification", Activation::Gelu).transformed(),
    Class::of_tokens("ModernBertForTokenClassification").transformed(),
    Class::of_answers("ModernBertForQuestionAnswering").transformed(),
    Class::of_choices("ModernBertForMultipleChoice").transformed(),
    Class::of_bert_masks("BertForMaskedLM"),
    Class::of_bert_masks("DebertaForMaskedLM"),
    Class::of_bert_masks("DebertaV2ForMaskedLM"),
    Class::of_roberta_masks("RobertaForMaskedLM"),
    Class::of_roberta_masks("XLMRobertaForMaskedLM"),
    Class::of_roberta_masks("XmodForMaskedLM"),
    Class::of_masks("DistilBertForMaskedLM", &["vocab_transform", "vocab_projector"], "vocab_layer_norm"),
    Class::of_masks(
        "ElectraForMaskedLM",
        &["generator_predictions.dense", "generator_lm_head"],
        "generator_predictions.LayerNorm",
    ),
    Class {
        activation: Some(Activation::GeluNew),
        second_bias: "predictions.bias",
        ..Class::of_masks("AlbertForMaskedLM", &["predictions.dense", "predictions.decoder"], "predictions.LayerNorm")
    },
];

/// The modules of the linear layers of a class's head; empty if it is not known, or has a norm.
pub(crate) fn layers(class: &str) -> &'static [&'static str] {
    let known = CLASSES.iter().find(|known| known.name == class && known.norm.is_none());
    known.map_or(&[], |known| known.layers)
}

/// Whether the configuration of a class's head depends on its tensors.
pub(crate) fn needs_tensors(class: Option<&str>) -> bool {
    CLASSES.iter().any(|known| Some(known.name) == class && known.norm.is_some())
}

/// The configuration of the head of a class, from the other keys of the file and, where it [needs](needs_tensors) them,
/// the shapes of its tensors.
pub(crate) fn config(
    class: Option<&str>,
    file: &Map<String, Value>,
    shape: impl Fn(&str) -> Option<Vec<usize>>,
) -> Result<HeadConfig, HeadError> {
    let Some(class) = class else {
        let reason = "`config` is null and `model_class` is missing, so it is not known what head this is".to_owned();
        return Err(HeadError::Json { reason });
    };
    let Some(known) = CLASSES.iter().find(|known| known.name == class) else {
        return Err(HeadError::UnknownType { found: shorten(class).into_owned() });
    };
    match known.norm {
        Some(_) if known.head_type == "masked_lm" => masked_config(known, shape),
        Some(norm) => {
            let has_bias = |module: &str| shape(&format!("{module}.bias")).is_some();
            let transform = Transform { bias: has_bias(known.layers[0]), norm_bias: has_bias(norm) };
            Ok(labeled_config(known, file)?.with_transform(Some(transform)))
        }
        None => labeled_config(known, file),
    }
}

/// Of a masked language model.
fn masked_config(known: &Class, shape: impl Fn(&str) -> Option<Vec<usize>>) -> Result<HeadConfig, HeadError> {
    let last = format!("{}.weight", known.layers[1]);
    let Some(&[vocabulary, width]) = shape(&last).as_deref() else {
        return Err(HeadError::Json { reason: format!("the head of {} has no matrix `{last}`", known.name) });
    };
    Ok(HeadConfig::masked_lm(vocabulary).with_activation_function(known.activation).with_embedding_size(Some(width)))
}

fn labeled_config(known: &Class, file: &Map<String, Value>) -> Result<HeadConfig, HeadError> {
    let beside = |key: &str| file.get(key).cloned().unwrap_or_default();
    let (label2id, id2label) = (beside("label2id"), beside("id2label"));
    let labels = [&label2id, &id2label].into_iter().find_map(|map| map.as_object()).map(Map::len);
    let num_labels = match beside("num_labels") {
        Value::Null => json!(labels.unwrap_or(2)),
        number => number,
    };
    let mut config = json!({
        "head_type": known.head_type,
        "layers": known.layers.len(),
        "activation_function": known.activation.map(Activation::name),
    });
    if let Some(object) = config.as_object_mut() {
        object.extend(known.use_pooler.map(|use_pooler| ("use_pooler".into(), use_pooler.into())));
        // The choices of a question have no names; the file's labels are those of Hugging Face's defaults.
        if known.head_type != "multiple_choice" {
            let labels = [("num_labels", num_labels), ("label2id", label2id), ("id2label", id2label)];
            object.extend(labels.map(|(key, value)| (key.to_owned(), value)));
        }
        if known.head_type == "classification" {
            object.insert("bias".into(), known.bias.into());
        }
    }
    HeadConfig::from_json_value(&config)
}

/// A note on the head of a class.
pub(crate) fn note(class: Option<&str>, config: &HeadConfig) -> String {
    let class = class.unwrap_or_default();
    let read = format!("the head of {class} is read as a {} head, as in the Python library", config.task());
    let of_texts = CLASSES.iter().any(|known| known.name == class && known.head_type == "classification");
    if !of_texts {
        return read;
    }
    format!("{read}; if it was trained for several labels at once (`problem_type`), its folder does not say so")
}

/// The tensors under the names of a head with this name.
pub(crate) fn rename(class: Option<&str>, config: &HeadConfig, name: &str, tensors: Tensors) -> Tensors {
    let known = CLASSES.iter().find(|known| Some(known.name) == class);
    if let Some((known, norm)) = known.and_then(|known| Some((known, known.norm?))) {
        return rename_normed(known, norm, config, name, tensors);
    }
    let layers = known.map_or(ONE_LAYER, |known| known.layers);
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

/// As [`rename`], of a head that begins with a linear layer, an activation and a norm. Dropout follows, but for language
/// models, and the last layer.
fn rename_normed(known: &Class, norm: &str, config: &HeadConfig, name: &str, tensors: Tensors) -> Tensors {
    let last = if config.transform.is_some() { 4 } else { 3 };
    let modules = [(known.layers[0], 0), (norm, 2), (known.layers[1], last)];
    let bias = format!("{}.bias", known.layers[1]);
    // The two names are of one parameter.
    let has_bias = tensors.contains_key(&bias);
    let renamed = |tensor: String| {
        if tensor == known.second_bias {
            return (!has_bias).then(|| format!("heads.{name}.{last}.bias"));
        }
        let new = modules.iter().find_map(|(module, index)| {
            let parameter = tensor.strip_prefix(module)?.strip_prefix('.')?;
            Some(format!("heads.{name}.{index}.{parameter}"))
        });
        Some(new.unwrap_or(tensor))
    };
    tensors.into_iter().filter_map(|(tensor, values)| Some((renamed(tensor)?, values))).collect()
}
