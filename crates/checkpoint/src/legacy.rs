//! Files of older versions of the Python library, read as its own loader reads them.

use burn_adapters_config::{AdapterConfig, MethodConfig};
use serde_json::Value;

use crate::{FolderMeta, Tensors};

/// Module names of the first versions, with today's.
const RENAMED: [(&str, &str); 5] = [
    ("attention_text_task_adapters", "adapters"),
    ("attention_text_lang_adapters", "adapters"),
    ("layer_text_task_adapters", "adapters"),
    ("layer_text_lang_adapters", "adapters"),
    ("invertible_lang_adapters", "invertible_adapters"),
];

/// Updates tensor names.
pub(crate) fn rename(tensors: Tensors) -> Tensors {
    let rename = |name: String| RENAMED.iter().fold(name, |name, (old, new)| name.replace(old, new));
    tensors.into_iter().map(|(name, tensor)| (rename(name), tensor)).collect()
}

/// Updates a configuration. Returns a note for each change of its meaning.
pub(crate) fn update(meta: &FolderMeta, config: &mut Value) -> Vec<String> {
    let mut notes = Vec::new();
    let Some(config) = config.as_object_mut() else {
        return notes;
    };
    let Some(version) = &meta.version else {
        // Before versions were written, `gelu` meant the tanh approximation.
        let renamed = match config.get("non_linearity").and_then(Value::as_str) {
            Some("gelu") => Some("gelu_new"),
            Some("gelu_orig") => Some("gelu"),
            _ => None,
        };
        if let Some(name) = renamed {
            notes.push(format!(
                "saved before files named a version, when the activation {} meant what is now {name:?}: read as that",
                config.get("non_linearity").unwrap_or(&Value::Null)
            ));
            config.insert("non_linearity".into(), name.into());
        }
        return notes;
    };
    // Before 1.1.0 the library left out LoRA's factor `alpha / r`.
    let unscaled = version.strip_prefix("adapters.").and_then(release).is_some_and(|release| release < (1, 1));
    let lora = config.get("architecture").and_then(Value::as_str) == Some("lora");
    if unscaled
        && lora
        && config.get("r") != config.get("alpha")
        && let Some(r) = config.get("r").cloned()
    {
        notes.push(format!(
            "trained by {version}, which left out LoRA's factor alpha / r: alpha is set to {r}, so that the adapter \
             works as trained"
        ));
        config.insert("alpha".into(), r);
    }
    notes
}

/// A note on a configuration that the Python library may have written for DiReFT as well as for NoReFT.
pub(crate) fn ambiguous_reft(config: &Value) -> Option<String> {
    let is_ambiguous = |config: &Value| {
        config.get("architecture").and_then(Value::as_str) == Some("reft")
            && config.get("orthogonality") == Some(&Value::Bool(false))
            && config.get("subtract_projection").is_none()
    };
    let members = config.get("configs").and_then(Value::as_array).into_iter().flatten();
    members.chain([config]).any(is_ambiguous).then(|| {
        "the Python library does not save whether an intervention subtracts the projection, and reads DiReFT as NoReFT: \
         taken for NoReFT here too; if it was trained as `direft`, add \"subtract_projection\": false to the configuration \
         in adapter_config.json"
            .to_owned()
    })
}

/// Removes the invertible adapter from the configuration of a version 1 task adapter, which names one although it was
/// trained and saved without.
pub(crate) fn without_phantom(
    config: AdapterConfig,
    kind: Option<&Value>,
    name: &str,
    tensors: &Tensors,
) -> (AdapterConfig, Option<String>) {
    let is_task = kind.and_then(Value::as_str) == Some("text_task");
    let named = config.methods().iter().any(|method| match method {
        MethodConfig::Bottleneck(config) => config.inv_adapter.is_some(),
        _ => false,
    });
    let module = format!("invertible_adapters.{name}.");
    if !is_task || !named || tensors.keys().any(|tensor| tensor.contains(&module)) {
        return (config, None);
    }
    let note = "its configuration names an invertible adapter that was never saved, as task adapters of version 1 do: \
                left out, as in the Python library";
    (config.without_invertible(), Some(note.to_owned()))
}

fn release(version: &str) -> Option<(u64, u64)> {
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::RawTensor;

    fn meta(version: Option<&str>) -> FolderMeta {
        FolderMeta {
            name: "a".into(),
            model_type: None,
            hidden_size: None,
            model_name: None,
            model_class: None,
            version: version.map(str::to_owned),
        }
    }

    #[test]
    fn the_first_names_of_modules_are_understood() {
        let tensor = RawTensor { shape: vec![1], values: vec![0.0] };
        let old = "bert.encoder.layer.0.output.layer_text_task_adapters.sst.adapter_up.bias".to_owned();
        let renamed = rename(Tensors::from([(old, tensor)]));
        assert_eq!(renamed.keys().next().unwrap(), "bert.encoder.layer.0.output.adapters.sst.adapter_up.bias");
    }

    #[test]
    fn before_versions_were_written_gelu_meant_its_approximation() {
        for (version, name, expected) in [
            (None, "gelu", "gelu_new"),
            (None, "gelu_orig", "gelu"),
            (None, "relu", "relu"),
            (Some("2.0.0"), "gelu", "gelu"),
        ] {
            let mut config = json!({"non_linearity": name});
            let notes = update(&meta(version), &mut config);
            assert_eq!(config["non_linearity"], expected);
            assert_eq!(notes.len(), usize::from(name != expected), "every change is noted: {notes:?}");
        }
    }

    #[test]
    fn lora_trained_without_its_factor_keeps_working_as_trained() {
        for (version, alpha) in [("adapters.1.0.1", 2), ("adapters.1.1.0", 8), ("adapters.1.3.0", 8), ("3.2.1", 8)] {
            let mut config = json!({"architecture": "lora", "r": 2, "alpha": 8});
            let notes = update(&meta(Some(version)), &mut config);
            assert_eq!(config["alpha"], alpha, "{version}");
            assert_eq!(notes.len(), usize::from(alpha == 2));
        }
    }
}
