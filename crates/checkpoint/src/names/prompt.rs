//! Prompt tuning.

use super::{Context, Names, one};
use crate::layout::Layout;

pub(super) fn names(path: &str, context: &Context) -> Option<Names> {
    match path {
        "prompt.prompt_embedding.weight" => {
            one(format!("prompt_tuning.prompt_tunings.{}.prompt_embedding.weight", context.name), Layout::Same)
        }
        _ => None,
    }
}
