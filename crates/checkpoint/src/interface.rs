//! `adapter_interface.json`, which the Python library saves with adapters of models that it supports through its plug-in
//! interface. It is written for that library and for users; it is not read here.

use burn_adapters_core::ModelSpec;
use serde_json::{Map, Value, json};

use crate::meta::{VERSION, pretty};

/// The file's name.
pub(crate) const FILE: &str = "adapter_interface.json";

/// The keys that name a module, or are null.
const KEYS: [&str; 17] = [
    "attn_k_proj",
    "attn_o_proj",
    "attn_q_proj",
    "attn_qkv_proj",
    "attn_v_proj",
    "base_model",
    "layer_cross_attn",
    "layer_intermediate_proj",
    "layer_ln_1",
    "layer_ln_2",
    "layer_output_proj",
    "layer_pre_cross_attn",
    "layer_pre_ffn",
    "layer_pre_self_attn",
    "layer_self_attn",
    "model_embeddings",
    "model_layers",
];

/// The methods that the library supports in all these models.
const METHODS: [&str; 4] = ["bottleneck", "lora", "reft", "invertible"];

/// The text of the file.
pub(crate) fn format(spec: &ModelSpec) -> String {
    let mut interface: Map<String, Value> = KEYS.iter().map(|key| ((*key).to_owned(), Value::Null)).collect();
    interface.insert("adapter_methods".into(), json!(METHODS));
    interface.extend(spec.names.interface.iter().map(|(key, module)| ((*key).to_owned(), (*module).into())));
    pretty(json!({ "interface": interface, "model_type": spec.model_type, "version": VERSION }))
}
