//! Models in several files: Hugging Face's index of the file of each tensor.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use burn_adapters_files::{MAX_TEXT, parse_json, read_text, shorten};
use serde_json::Value;

use crate::TensorFileError;

/// The files that an index (`model.safetensors.index.json`) names. Each is the plain name of a file beside the index.
///
/// # Errors
/// If the index cannot be read, is not an index, or names a file in another folder or of another kind.
pub fn shards(index: &Path) -> Result<Vec<PathBuf>, TensorFileError> {
    let damaged = |reason: String| TensorFileError::damaged(index, reason);
    let text = read_text(index, MAX_TEXT)?;
    let value: Value = parse_json(&text).map_err(|error| damaged(format!("not JSON: {error}")))?;
    let map = value
        .get("weight_map")
        .and_then(Value::as_object)
        .ok_or_else(|| damaged("expected an object under the key `weight_map`".into()))?;
    let mut names = BTreeSet::new();
    for (tensor, file) in map {
        let name = file.as_str().unwrap_or_default();
        let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
        let plain = Path::new(name).file_name().is_some_and(|plain| plain == name) && !name.contains(['/', '\\']);
        if !plain || !matches!(extension, Some("safetensors" | "bin")) {
            let (tensor, found) = (shorten(tensor), file.to_string());
            return Err(damaged(format!(
                "it places `{tensor}` in {}: expected the name of a .safetensors or .bin file beside it",
                shorten(&found)
            )));
        }
        names.insert(name);
    }
    if names.is_empty() {
        return Err(damaged("`weight_map` names no file".into()));
    }
    Ok(names.into_iter().map(|name| index.with_file_name(name)).collect())
}
