//! The kind of a folder, determined from its files, so that errors can name a folder of the wrong kind.

use std::fmt;
use std::path::Path;

use serde_json::Value;

use crate::{MAX_CONFIG, is_there, parse_json, read_text};

/// The kinds of folders that are confused with each other.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FolderKind {
    /// An adapter of AdapterHub.
    Adapter,
    /// An adapter of the library PEFT.
    Peft {
        /// Its method, from `peft_type`, in upper case: `LORA`.
        method: Option<String>,
    },
    /// An adapter of mlx-lm.
    Mlx,
    /// An AdapterFusion of AdapterHub.
    Fusion,
    /// A prediction head of AdapterHub, without an adapter.
    Head,
    /// A whole setup of AdapterHub: a folder of adapters.
    Setup,
    /// A complete Hugging Face model.
    Model,
}

impl FolderKind {
    /// Determines the kind of a folder; `None` if it is unknown.
    pub fn of(dir: &Path) -> Option<Self> {
        let has = |name: &str| is_there(&dir.join(name));
        if has("adapter_config.json") {
            return Some(Self::of_adapter(dir));
        }
        let kinds = [
            ("adapter_model.safetensors", Self::Peft { method: None }),
            ("adapter_model.bin", Self::Peft { method: None }),
            ("adapter_setup.json", Self::Setup),
            ("adapter_fusion_config.json", Self::Fusion),
            ("head_config.json", Self::Head),
            ("config.json", Self::Model),
            ("model.safetensors", Self::Model),
            ("model.safetensors.index.json", Self::Model),
            ("pytorch_model.bin", Self::Model),
        ];
        kinds.into_iter().find(|(name, _)| has(name)).map(|(_, kind)| kind)
    }

    /// The kind that a parsed `adapter_config.json` belongs to, if it is not AdapterHub's.
    pub fn of_adapter_config(config: &Value) -> Option<Self> {
        let method = config.get("peft_type")?;
        Some(Self::Peft { method: method.as_str().map(str::to_uppercase) })
    }

    /// PEFT's configuration file has the same name as AdapterHub's.
    fn of_adapter(dir: &Path) -> Self {
        let text = read_text(&dir.join("adapter_config.json"), MAX_CONFIG);
        let value = text.ok().and_then(|text| parse_json(&text).ok()).unwrap_or_default();
        match Self::of_adapter_config(&value) {
            Some(peft) => peft,
            None if value.get("config").is_some() => Self::Adapter,
            None if ["adapter_model.safetensors", "adapter_model.bin"].iter().any(|name| is_there(&dir.join(name))) => {
                Self::Peft { method: None }
            }
            None if is_there(&dir.join("adapters.safetensors")) => Self::Mlx,
            None => Self::Adapter,
        }
    }
}

impl fmt::Display for FolderKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FolderKind::Adapter => "an AdapterHub adapter",
            FolderKind::Peft { method } => {
                return match method.as_deref() {
                    Some("LORA") => f.write_str("a LoRA adapter of PEFT"),
                    Some(method) => write!(f, "an adapter of PEFT (peft_type {})", crate::shorten(method)),
                    None => f.write_str("an adapter of PEFT"),
                };
            }
            FolderKind::Mlx => "an adapter of mlx-lm",
            FolderKind::Fusion => "an AdapterFusion",
            FolderKind::Head => "a prediction head without an adapter",
            FolderKind::Setup => "a whole setup of several adapters",
            FolderKind::Model => "a whole Hugging Face model",
        })
    }
}
