//! The names of a saved fusion's files and parameters, as in the reference.

/// The file that describes a saved fusion: `name`, `adapter_names`, `model_type`, `model_class`, `hidden_size`,
/// `version`, and the dictionary of the configuration under `config`.
pub const CONFIG_FILE: &str = "adapter_fusion_config.json";

/// The file of the weights, as safetensors.
pub const SAFETENSORS_FILE: &str = "model_adapter_fusion.safetensors";

/// The file of the weights, as PyTorch writes them.
pub const PYTORCH_FILE: &str = "pytorch_model_adapter_fusion.bin";

/// The module before a fusion's name in the names of its parameters:
/// `bert.encoder.layer.0.output.adapter_fusion_layer.a,b.query.weight`.
pub const LAYER: &str = "adapter_fusion_layer";

/// The name of a parameter: `place` is that of the bottleneck adapters (`bert.encoder.layer.0.output`), `fusion` the
/// name of the fusion (`a,b`), `parameter` the path in the [`Fusion`](crate::Fusion) (`query.weight`).
///
/// Weights are stored as PyTorch's linear layers have them, `[out, in]`; Burn's are `[in, out]`.
pub fn parameter_name(place: &str, fusion: &str, parameter: &str) -> String {
    format!("{place}.{LAYER}.{fusion}.{parameter}")
}
