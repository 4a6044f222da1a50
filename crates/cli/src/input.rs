//! Configurations and compositions on the command line, and the drawing of their errors.

use std::path::Path;

use burn_adapters_composition::Composition;
use burn_adapters_config::AdapterConfig;
use burn_adapters_files::{FolderKind, MAX_CONFIG, parse_json, read_text};

use crate::error::{CliError, CliResult};

/// A configuration from a string, or from a JSON file.
pub(crate) fn adapter_config(text: &str) -> CliResult<AdapterConfig> {
    if !names_a_file(text) {
        return text.parse().map_err(|error| CliError::text(&error, None));
    }
    let path = Path::new(text);
    let path = if path.is_dir() { path.join("adapter_config.json") } else { path.to_owned() };
    let json = read_text(&path, MAX_CONFIG).map_err(CliError::file)?;
    if let Some(peft) = parse_json(&json).ok().and_then(|value| FolderKind::of_adapter_config(&value)) {
        let message = format!("{} is the configuration of {peft}", path.display());
        return Err(CliError::mistake(message).with_help(
            "configurations of PEFT cannot be read; write it as in `lora[r=8,alpha=16]`; `burn-adapters methods` \
             lists all methods",
        ));
    }
    AdapterConfig::from_json_str(&json).map_err(|error| CliError::text(&error, Some(&path.display().to_string())))
}

/// A configuration string contains a slash only within quotes, after its first bracket; a path has no bracket before
/// its first slash.
fn names_a_file(text: &str) -> bool {
    let head = text.split(['[', '|']).next().unwrap_or(text);
    head.ends_with(".json") || text.ends_with(".json") || head.contains(['/', '\\'])
}

/// A composition such as `Stack(a, Fuse(b, c))`.
pub(crate) fn composition(text: &str) -> CliResult<Composition> {
    Composition::parse(text).map_err(|error| CliError::text(&error, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_told_from_a_configuration() {
        for path in ["a.json", "./lora", "dir/config", "C:\\x\\y", "adapters/my|file.json"] {
            assert!(names_a_file(path), "{path}");
        }
        for config in ["lora", "seq_bn[reduction_factor=8]", "a|b", "x[key='a/b']", ""] {
            assert!(!names_a_file(config), "{config}");
        }
    }
}
