//! The names of a GGUF file's tensors, and Hugging Face's.

use burn_adapters_core::{Place, Site};
use burn_adapters_tensors::{heads_in_pairs, pairs_in_heads};

use crate::families::LLAMA_NAMES;

/// The order of the rows of a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rows {
    /// As in the model.
    Same,
    /// Each head's in neighboring pairs, for this number of heads.
    Interleaved(usize),
}

/// The tensors outside of layers.
const OUTSIDE: [(&str, &str); 3] = [("token_embd", "embed_tokens"), ("output_norm", "norm"), ("output", "lm_head")];

/// The norms of a layer.
const NORMS: [(&str, &str); 4] = [
    ("attn_norm", "input_layernorm"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("ffn_norm", "post_attention_layernorm"),
];

/// The modules of a layer: their names in a GGUF file, and in the model.
fn in_layer() -> impl Iterator<Item = (&'static str, &'static str)> {
    let matrix = |place: Place| Some((place.llama_cpp_name()?, LLAMA_NAMES.site(Site::decoder(0, place))?.module()));
    NORMS.into_iter().chain(Place::ALL.into_iter().filter_map(matrix))
}

/// The order of the rows of a tensor; `heads` has the numbers of heads of queries and of keys if their rows are interleaved.
fn rows(module: &str, heads: Option<[usize; 2]>) -> Rows {
    match heads {
        Some([queries, _]) if Some(module) == Place::Query.llama_cpp_name() => Rows::Interleaved(queries),
        Some([_, keys]) if Some(module) == Place::Key.llama_cpp_name() => Rows::Interleaved(keys),
        _ => Rows::Same,
    }
}

/// The name in the base model of a tensor of a GGUF file, and the order of its rows. Names that are not known stay as they are.
pub(crate) fn weight(name: &str, heads: Option<[usize; 2]>) -> (String, Rows) {
    let known = || {
        let (module, parameter) = name.rsplit_once('.')?;
        if let Some((_, own)) = OUTSIDE.iter().find(|(stored, _)| *stored == module) {
            return Some((format!("{own}.{parameter}"), Rows::Same));
        }
        let (layer, module) = module.strip_prefix("blk.")?.split_once('.')?;
        let (_, own) = in_layer().find(|(stored, _)| *stored == module)?;
        Some((format!("layers.{layer}.{own}.{parameter}"), rows(module, heads)))
    };
    known().unwrap_or_else(|| (name.to_owned(), Rows::Same))
}

/// The name in a GGUF file of a weight of the base model, and the order of its rows there; `None` if there is no such tensor.
pub(crate) fn stored(name: &str, heads: Option<[usize; 2]>) -> Option<(String, Rows)> {
    let (module, parameter) = name.rsplit_once('.')?;
    if let Some((stored, _)) = OUTSIDE.iter().find(|(_, own)| *own == module) {
        return Some((format!("{stored}.{parameter}"), Rows::Same));
    }
    let (layer, module) = module.strip_prefix("layers.")?.split_once('.')?;
    let (stored, _) = in_layer().find(|(_, own)| *own == module)?;
    Some((format!("blk.{layer}.{stored}.{parameter}"), rows(stored, heads)))
}

impl Rows {
    /// Rows, of bytes or elements, in the order of the model; `None` if they are already, or do not fit the heads.
    pub(crate) fn put_back<T: Copy>(self, values: &[T], rows: usize) -> Option<Vec<T>> {
        let Self::Interleaved(heads) = self else { return None };
        pairs_in_heads(values, rows, heads)
    }

    /// Rows of the model in the order of the file.
    pub(crate) fn as_stored(self, values: Vec<f32>, rows: usize) -> Vec<f32> {
        match self {
            Self::Interleaved(heads) => heads_in_pairs(&values, rows, heads).unwrap_or(values),
            Self::Same => values,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn tensors_have_the_names_of_the_model() {
        let names = |name| weight(name, Some([9, 3]));
        assert_eq!(names("token_embd.weight").0, "embed_tokens.weight");
        assert_eq!(names("blk.3.attn_q.weight"), ("layers.3.self_attn.q_proj.weight".into(), Rows::Interleaved(9)));
        assert_eq!(names("blk.3.attn_k.bias"), ("layers.3.self_attn.k_proj.bias".into(), Rows::Interleaved(3)));
        assert_eq!(names("blk.12.ffn_down.weight"), ("layers.12.mlp.down_proj.weight".into(), Rows::Same));
        assert_eq!(names("rope_freqs.weight").0, "rope_freqs.weight");
        assert_eq!(weight("blk.0.attn_q.weight", None).1, Rows::Same);
        for name in
            ["token_embd.weight", "output.weight", "blk.3.attn_q.weight", "blk.0.attn_k.bias", "blk.12.ffn_norm.weight"]
        {
            let (own, rows) = weight(name, Some([9, 3]));
            assert_eq!(stored(&own, Some([9, 3])), Some((name.to_owned(), rows)));
        }
        assert_eq!(stored("pooler.dense.weight", None), None);
    }

    #[test]
    fn rows_of_each_head_are_put_back() {
        // Two heads of four rows of one byte: pairs of the model's rows (0, 2) and (1, 3).
        let stored = [0_u8, 2, 1, 3, 10, 12, 11, 13];
        assert_eq!(Rows::Interleaved(2).put_back(&stored, 8).unwrap(), [0, 1, 2, 3, 10, 11, 12, 13]);
        assert_eq!(Rows::Same.put_back(&stored, 8), None);
    }
}
