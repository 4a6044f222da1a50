//! The names of a GGUF file's tensors, and Hugging Face's.

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

/// The tensors of a layer.
const IN_LAYER: [(&str, &str); 11] = [
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

/// The name in the base model of a tensor of a GGUF file, and the order of its rows; `heads` has the numbers of heads of
/// queries and of keys if their rows are interleaved. Names that are not known stay as they are.
pub(crate) fn weight(name: &str, heads: Option<[usize; 2]>) -> (String, Rows) {
    let known = || {
        let (module, parameter) = name.rsplit_once('.')?;
        if let Some((_, own)) = OUTSIDE.iter().find(|(stored, _)| *stored == module) {
            return Some((format!("{own}.{parameter}"), Rows::Same));
        }
        let (layer, module) = module.strip_prefix("blk.")?.split_once('.')?;
        let (_, own) = IN_LAYER.iter().find(|(stored, _)| *stored == module)?;
        let rows = match (module, heads) {
            ("attn_q", Some([queries, _])) => Rows::Interleaved(queries),
            ("attn_k", Some([_, keys])) => Rows::Interleaved(keys),
            _ => Rows::Same,
        };
        Some((format!("layers.{layer}.{own}.{parameter}"), rows))
    };
    known().unwrap_or_else(|| (name.to_owned(), Rows::Same))
}

impl Rows {
    /// The bytes of rows in the order of the model.
    pub(crate) fn put_back(self, bytes: &[u8], rows: usize) -> Option<Vec<u8>> {
        let Self::Interleaved(heads) = self else { return None };
        let (row, head) = (bytes.len() / rows.max(1), rows / heads.max(1));
        let mut ordered = Vec::with_capacity(bytes.len());
        for first in (0..rows).step_by(head.max(1)) {
            // Row `half · (head / 2) + pair` of the model is row `2 · pair + half` here.
            for half in 0..2 {
                for pair in 0..head / 2 {
                    let at = (first + 2 * pair + half) * row;
                    ordered.extend_from_slice(bytes.get(at..at + row)?);
                }
            }
        }
        Some(ordered)
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
    }

    #[test]
    fn rows_of_each_head_are_put_back() {
        // Two heads of four rows of one byte: pairs of the model's rows (0, 2) and (1, 3).
        let stored = [0, 2, 1, 3, 10, 12, 11, 13];
        assert_eq!(Rows::Interleaved(2).put_back(&stored, 8).unwrap(), [0, 1, 2, 3, 10, 11, 12, 13]);
        assert_eq!(Rows::Same.put_back(&stored, 8), None);
    }
}
