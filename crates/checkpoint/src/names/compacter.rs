//! Compacter's PHM layers and their shared parameters.

use super::{Context, Names, one};
use crate::layout::Layout;

/// A parameter of a PHM layer under the library's name of the layer.
pub(super) fn local(layer: &str, path: &str) -> Option<Names> {
    let name = match path.split_once('.') {
        None if path == "bias" => "b".to_owned(),
        Some(("weight", part)) => matrices("W", part)?,
        Some(("rule", part)) => matrices("phm_rule", part)?,
        _ => return None,
    };
    one(format!("{layer}.{name}"), Layout::Same)
}

/// The parameters that all PHM layers of an adapter share.
pub(super) fn shared(path: &str, context: &Context) -> Option<Names> {
    let (field, part) = path.strip_prefix("phm_shared.")?.split_once('.')?;
    let name = match field {
        "rule" => matrices("phm_rule", part)?,
        "down" => matrices("W_down", part)?,
        "up" => matrices("W_up", part)?,
        _ => return None,
    };
    Some((context.shared(&name), Layout::Same))
}

/// A stack of matrices, whole or factorized.
fn matrices(name: &str, part: &str) -> Option<String> {
    match part {
        "Full" => Some(name.to_owned()),
        "Factorized.left" => Some(format!("{name}_left")),
        "Factorized.right" => Some(format!("{name}_right")),
        _ => None,
    }
}
