//! Small models whose tokens are words, with random weights.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

use crate::common::{Draw, Workplace};

pub(crate) const WORDS: [&str; 12] =
    ["<end>", "<unk>", "the", "sea", "is", "deep", "and", "blue", "a", "ship", "sails", "home"];
pub(crate) const WIDTH: usize = 8;

/// The folder of a small GPT-2.
pub(crate) fn decoder(place: &Workplace) -> PathBuf {
    let config = json!({
        "model_type": "gpt2", "vocab_size": WORDS.len(), "n_embd": WIDTH, "n_layer": 1, "n_head": 2, "n_positions": 24,
        "bos_token_id": 0, "eos_token_id": 0,
    });
    let shapes: [(&str, Vec<usize>); 16] = [
        ("wte.weight", vec![WORDS.len(), WIDTH]),
        ("wpe.weight", vec![24, WIDTH]),
        ("h.0.ln_1.weight", vec![WIDTH]),
        ("h.0.ln_1.bias", vec![WIDTH]),
        ("h.0.attn.c_attn.weight", vec![WIDTH, 3 * WIDTH]),
        ("h.0.attn.c_attn.bias", vec![3 * WIDTH]),
        ("h.0.attn.c_proj.weight", vec![WIDTH, WIDTH]),
        ("h.0.attn.c_proj.bias", vec![WIDTH]),
        ("h.0.ln_2.weight", vec![WIDTH]),
        ("h.0.ln_2.bias", vec![WIDTH]),
        ("h.0.mlp.c_fc.weight", vec![WIDTH, 4 * WIDTH]),
        ("h.0.mlp.c_fc.bias", vec![4 * WIDTH]),
        ("h.0.mlp.c_proj.weight", vec![4 * WIDTH, WIDTH]),
        ("h.0.mlp.c_proj.bias", vec![WIDTH]),
        ("ln_f.weight", vec![WIDTH]),
        ("ln_f.bias", vec![WIDTH]),
    ];
    write(&place.path("decoder"), &config, &shapes)
}

/// The folder of a small T5.
pub(crate) fn encoder_decoder(place: &Workplace) -> PathBuf {
    let config = json!({
        "model_type": "t5", "vocab_size": WORDS.len(), "d_model": WIDTH, "d_kv": 4, "d_ff": 16, "num_layers": 1,
        "num_heads": 2, "relative_attention_num_buckets": 8, "eos_token_id": 0, "pad_token_id": 1,
        "decoder_start_token_id": 1,
    });
    let mut shapes: Vec<(String, Vec<usize>)> = vec![("shared.weight".into(), vec![WORDS.len(), WIDTH])];
    let mut add = |name: &str, shape: &[usize]| shapes.push((format!("{name}.weight"), shape.to_vec()));
    let attention = |add: &mut dyn FnMut(&str, &[usize]), at: &str| {
        ["q", "k", "v", "o"].into_iter().for_each(|part| add(&format!("{at}.{part}"), &[WIDTH, WIDTH]));
    };
    for (stack, feed_forward) in [("encoder", 1), ("decoder", 2)] {
        let layer = |number: usize| format!("{stack}.block.0.layer.{number}");
        attention(&mut add, &format!("{}.SelfAttention", layer(0)));
        add(&format!("{}.SelfAttention.relative_attention_bias", layer(0)), &[8, 2]);
        if stack == "decoder" {
            attention(&mut add, &format!("{}.EncDecAttention", layer(1)));
        }
        add(&format!("{}.DenseReluDense.wi", layer(feed_forward)), &[16, WIDTH]);
        add(&format!("{}.DenseReluDense.wo", layer(feed_forward)), &[WIDTH, 16]);
        (0..=feed_forward).for_each(|number| add(&format!("{}.layer_norm", layer(number)), &[WIDTH]));
        add(&format!("{stack}.final_layer_norm"), &[WIDTH]);
    }
    let shapes: Vec<(&str, Vec<usize>)> = shapes.iter().map(|(name, shape)| (name.as_str(), shape.clone())).collect();
    write(&place.path("encoder-decoder"), &config, &shapes)
}

/// Writes a model with its tokenizer; encoder-decoders end each text with `<end>`.
fn write(dir: &Path, config: &Value, shapes: &[(&str, Vec<usize>)]) -> PathBuf {
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join("config.json"), config.to_string()).unwrap();
    let vocabulary: BTreeMap<&str, usize> = WORDS.iter().enumerate().map(|(id, word)| (*word, id)).collect();
    let special = json!({"id": 0, "content": WORDS[0], "single_word": false, "lstrip": false, "rstrip": false,
                         "normalized": false, "special": true});
    let end = json!({"SpecialToken": {"id": WORDS[0], "type_id": 0}});
    let sequence = |name: &str| json!({"Sequence": {"id": name, "type_id": 0}});
    let template = json!({
        "type": "TemplateProcessing", "single": [sequence("A"), end],
        "pair": [sequence("A"), end, sequence("B"), end],
        "special_tokens": {WORDS[0]: {"id": WORDS[0], "ids": [0], "tokens": [WORDS[0]]}},
    });
    let template = if config["model_type"] == "t5" { template } else { Value::Null };
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [special], "normalizer": null,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": template, "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"},
    });
    fs::write(dir.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let class = json!({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<end>", "unk_token": "<unk>"});
    fs::write(dir.join("tokenizer_config.json"), class.to_string()).unwrap();

    let mut draw = Draw::new(5);
    let bytes: Vec<Vec<u8>> = shapes
        .iter()
        .map(|(name, shape)| {
            let is_norm = (name.contains("ln_") || name.contains("norm")) && name.ends_with("weight");
            let offset = if is_norm { 1.0 } else { 0.0 };
            (0..shape.iter().product()).flat_map(|_: usize| (draw.weight(1.0) + offset).to_le_bytes()).collect()
        })
        .collect();
    let views = shapes.iter().zip(&bytes);
    let views = views.map(|((name, shape), bytes)| (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    fs::write(dir.join("model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
    dir.to_owned()
}
