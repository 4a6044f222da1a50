//! The names of a GGUF file's tensors, and Hugging Face's.

use burn::tensor::TensorData;
use burn_adapters_core::{Place, Site, StackNames};
use burn_adapters_tensors::{heads_in_pairs, pairs_in_heads, transposed};

use super::Architecture;
use crate::plan::ModelPlan;

/// How a GGUF file holds a tensor of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// As Hugging Face's files do.
    Same,
    /// The rows of each head in neighboring pairs, for this number of heads.
    Interleaved(usize),
    /// With rows and columns exchanged.
    Transposed,
}

/// The names of a model's tensors.
pub(crate) struct Names<'a> {
    architecture: &'a Architecture,
    /// The numbers of heads of queries and of keys.
    heads: [usize; 2],
}

impl<'a> Names<'a> {
    pub(crate) fn new(architecture: &'a Architecture, plan: &ModelPlan) -> Self {
        let attention = &plan.stack.layer.attention;
        Self { architecture, heads: [attention.heads, attention.key_value_heads] }
    }

    /// The name in the base model of a tensor of a GGUF file, and how the file holds it. A name that is not known is the same.
    pub(crate) fn weight(&self, name: &str) -> (String, Layout) {
        let known = || {
            let (module, parameter) = name.rsplit_once('.')?;
            let outside = self.architecture.outside.iter().find(|(stored, _)| *stored == module);
            if let Some((_, own)) = outside {
                return Some((format!("{own}.{parameter}"), Layout::Same));
            }
            let (layer, module) = module.strip_prefix("blk.")?.split_once('.')?;
            let (_, own) = self.in_layer().find(|(stored, _)| *stored == module)?;
            Some((format!("{}{layer}.{own}.{parameter}", self.layers()), self.layout(module, parameter)))
        };
        known().unwrap_or_else(|| (name.to_owned(), Layout::Same))
    }

    /// The name in a GGUF file of a weight of the base model, and how the file holds it; `None` if there is no such tensor.
    pub(crate) fn stored(&self, name: &str) -> Option<(String, Layout)> {
        let (module, parameter) = name.rsplit_once('.')?;
        if let Some((stored, _)) = self.architecture.outside.iter().find(|(_, own)| *own == module) {
            return Some((format!("{stored}.{parameter}"), Layout::Same));
        }
        let (layer, module) = module.strip_prefix(self.layers())?.split_once('.')?;
        let (stored, _) = self.in_layer().find(|(_, own)| *own == module)?;
        Some((format!("blk.{layer}.{stored}.{parameter}"), self.layout(stored, parameter)))
    }

    /// The modules of a layer: their names in a GGUF file, and in the model.
    fn in_layer(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let (names, kind) = (self.architecture.sites, self.stack().map(|stack| stack.kind));
        let matrix = move |place: Place| {
            let site = Site { stack: kind?, layer: 0, place };
            Some((names.llama_cpp_name(site)?, names.site(site)?.module()))
        };
        self.architecture.norms.iter().copied().chain(Place::ALL.into_iter().filter_map(matrix))
    }

    fn stack(&self) -> Option<&'static StackNames> {
        self.architecture.sites.stacks.first()
    }

    /// The path of the model's layers, with a dot after it.
    pub(super) fn layers(&self) -> &'static str {
        self.stack().and_then(|stack| stack.layer.strip_suffix("{}")).unwrap_or_default()
    }

    fn layout(&self, module: &str, parameter: &str) -> Layout {
        let Architecture { is_interleaved, is_input_first, norms, .. } = self.architecture;
        match Some(module) {
            query if *is_interleaved && query == Place::Query.llama_cpp_name() => Layout::Interleaved(self.heads[0]),
            key if *is_interleaved && key == Place::Key.llama_cpp_name() => Layout::Interleaved(self.heads[1]),
            _ if *is_input_first && parameter == "weight" && !norms.iter().any(|(norm, _)| *norm == module) => {
                Layout::Transposed
            }
            _ => Layout::Same,
        }
    }
}

impl Layout {
    /// The shape of a tensor of the model in a GGUF file, or the other way around.
    pub(crate) fn shape(self, shape: &[usize]) -> Vec<usize> {
        let mut shape = shape.to_vec();
        if self == Self::Transposed {
            shape.reverse();
        }
        shape
    }

    /// A tensor of a file as Hugging Face's files have it.
    pub(crate) fn read(self, data: TensorData) -> TensorData {
        let rows = data.shape().first().copied().unwrap_or(1);
        match self {
            Self::Transposed if data.shape().len() == 2 => transposed(data),
            _ => match self.put_back(data.as_bytes(), rows) {
                Some(bytes) => TensorData::from_bytes_vec(bytes, data.shape().to_vec(), data.dtype()),
                None => data,
            },
        }
    }

    /// Rows, of bytes or elements, in the order of the model; `None` if they are already, or do not fit the heads.
    pub(crate) fn put_back<T: Copy>(self, values: &[T], rows: usize) -> Option<Vec<T>> {
        let Self::Interleaved(heads) = self else { return None };
        pairs_in_heads(values, rows, heads)
    }

    /// A tensor of the model, in f32, as the file has it.
    pub(crate) fn stored(self, data: TensorData) -> Result<Vec<f32>, String> {
        let rows = data.shape().first().copied().unwrap_or(1);
        let data = if self == Self::Transposed && data.shape().len() == 2 { transposed(data) } else { data };
        let values = data.try_into_vec::<f32>().map_err(|error| format!("{error:?}"))?;
        Ok(match self {
            Self::Interleaved(heads) => heads_in_pairs(&values, rows, heads).unwrap_or(values),
            Self::Same | Self::Transposed => values,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::families::ARCHITECTURES;

    fn names(architecture: &str) -> Names<'static> {
        let found = ARCHITECTURES.iter().find(|known| known.name == architecture).unwrap();
        Names { architecture: found, heads: [9, 3] }
    }

    #[test]
    fn tensors_have_the_names_of_the_model() {
        let llama = names("llama");
        let is = |name: &str, own: &str, layout| {
            assert_eq!(llama.weight(name), (own.to_owned(), layout));
            assert_eq!(llama.stored(own), Some((name.to_owned(), layout)));
        };
        is("token_embd.weight", "embed_tokens.weight", Layout::Same);
        is("output.weight", "lm_head.weight", Layout::Same);
        is("blk.3.attn_q.weight", "layers.3.self_attn.q_proj.weight", Layout::Interleaved(9));
        is("blk.3.attn_k.bias", "layers.3.self_attn.k_proj.bias", Layout::Interleaved(3));
        is("blk.12.ffn_down.weight", "layers.12.mlp.down_proj.weight", Layout::Same);
        is("blk.12.ffn_norm.weight", "layers.12.post_attention_layernorm.weight", Layout::Same);
        assert_eq!(llama.weight("rope_freqs.weight").0, "rope_freqs.weight");
        assert_eq!(names("qwen2").weight("blk.0.attn_q.weight").1, Layout::Same);
        assert_eq!(llama.stored("pooler.dense.weight"), None);
    }

    #[test]
    fn matrices_of_gpt_2_are_transposed_and_query_key_and_value_are_one() {
        let gpt2 = names("gpt2");
        let is = |name: &str, own: &str, layout| {
            assert_eq!(gpt2.weight(name), (own.to_owned(), layout));
            assert_eq!(gpt2.stored(own), Some((name.to_owned(), layout)));
        };
        is("token_embd.weight", "wte.weight", Layout::Same);
        is("position_embd.weight", "wpe.weight", Layout::Same);
        is("output_norm.bias", "ln_f.bias", Layout::Same);
        is("blk.3.attn_norm.weight", "h.3.ln_1.weight", Layout::Same);
        is("blk.3.attn_qkv.weight", "h.3.attn.c_attn.weight", Layout::Transposed);
        is("blk.3.attn_qkv.bias", "h.3.attn.c_attn.bias", Layout::Same);
        is("blk.3.attn_output.weight", "h.3.attn.c_proj.weight", Layout::Transposed);
        is("blk.3.ffn_down.weight", "h.3.mlp.c_proj.weight", Layout::Transposed);
        assert_eq!(gpt2.weight("blk.3.attn_q.weight").0, "blk.3.attn_q.weight");
    }

    #[test]
    fn norms_of_bert_are_after_its_blocks() {
        let bert = names("bert");
        let is = |name: &str, own: &str| {
            assert_eq!(bert.weight(name), (own.to_owned(), Layout::Same));
            assert_eq!(bert.stored(own), Some((name.to_owned(), Layout::Same)));
        };
        is("token_embd.weight", "embeddings.word_embeddings.weight");
        is("token_embd_norm.bias", "embeddings.LayerNorm.bias");
        is("blk.3.attn_k.bias", "encoder.layer.3.attention.self.key.bias");
        is("blk.3.attn_output_norm.weight", "encoder.layer.3.attention.output.LayerNorm.weight");
        is("blk.3.layer_output_norm.bias", "encoder.layer.3.output.LayerNorm.bias");
        assert_eq!(bert.stored("pooler.dense.weight"), None);
    }

    #[test]
    fn rows_of_each_head_are_put_back() {
        // Two heads of four rows of one byte: pairs of the model's rows (0, 2) and (1, 3).
        let stored = [0_u8, 2, 1, 3, 10, 12, 11, 13];
        assert_eq!(Layout::Interleaved(2).put_back(&stored, 8).unwrap(), [0, 1, 2, 3, 10, 11, 12, 13]);
        assert_eq!(Layout::Same.put_back(&stored, 8), None);
    }

    #[test]
    fn a_transposed_matrix_is_the_same_when_it_is_read_again() {
        let data = TensorData::from([[1.0_f32, 2.0, 3.0], [4.0, 5.0, 6.0]]);
        let stored = Layout::Transposed.stored(data.clone()).unwrap();
        assert_eq!(stored, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        assert_eq!(Layout::Transposed.read(TensorData::new(stored, Layout::Transposed.shape(&[2, 3]))), data);
    }
}
