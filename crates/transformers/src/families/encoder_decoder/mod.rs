//! Pairs of an encoder and a decoder that are models of their own (Rothe et al., 2020,
//! <https://arxiv.org/abs/1907.12461>). The decoder is a model with cross-attention, and has a language-model head.

use std::collections::BTreeMap;

use burn_adapters_core::{RowPosition, StackKind};
use burn_adapters_model::DecoderStart;

use super::{Family, bert, bert_generation, family, gpt2};
use crate::ModelConfigError;
use crate::fields::Fields;
use crate::plan::{
    AttentionPlan, DecoderPlan, LayerPlan, LinearPlan, ModelPlan, NormPlan, OutputPlan, OwnDecoder, TiedWeight,
};
use crate::tokenizer::Class;

mod names;

pub(super) use names::CrossNames;

pub(super) const ENCODER_DECODER: Family =
    Family { model_types: &["encoder-decoder"], tokenizer: |_| Class::Bert, plan };

/// A family whose models can be the decoder.
struct Decoding {
    family: Family,
    /// The cross-attention of a layer.
    cross: fn(&LayerPlan) -> (AttentionPlan, NormPlan),
    names: CrossNames,
}

static DECODERS: [Decoding; 3] = [
    Decoding { family: bert::BERT, cross: bert::cross_attention, names: bert::CROSS_NAMES },
    Decoding { family: bert_generation::BERT_GENERATION, cross: bert::cross_attention, names: bert::CROSS_NAMES },
    Decoding { family: gpt2::GPT2, cross: gpt2::cross_attention, names: gpt2::CROSS_NAMES },
];

fn plan(fields: &Fields<'_>) -> Result<ModelPlan, ModelConfigError> {
    let is_tied = fields.flag(TIED)?;
    let [encoder_file, decoder_file] = ["encoder", "decoder"].map(|part| format!("{}, `{part}`", fields.file()));
    let encoder = encoder_plan(&fields.part("encoder", &encoder_file)?)?;
    let decoder_fields = fields.part("decoder", &decoder_file)?;
    let start = start(fields, &decoder_fields)?;
    let (decoder, cross) = decoder_plan(&decoder_fields)?;
    if start as usize >= decoder.limits.vocabulary {
        let reason = format!("decoder_start_token_id ({start}) is not below the decoder's vocab_size");
        return Err(fields.inconsistent(reason));
    }
    let [encoded, decoded] = [encoder.stack.layer.hidden, decoder.stack.layer.hidden];
    let output = decoder.output.map(|output| OutputPlan { scope: "decoder.", ..output });
    let types = [encoder.model_type, decoder.model_type];
    let pair = ModelPlan {
        model_type: "encoder-decoder",
        prefix: "",
        scope: "encoder.".to_owned(),
        names: names::of_pair(&encoder.names, &decoder.names, cross),
        decoder: Some(DecoderPlan {
            start: DecoderStart::Token(start),
            embeddings: decoder.embeddings,
            stack: decoder.stack,
            norm: decoder.norm,
            own: Some(OwnDecoder {
                scope: format!("decoder.{}", decoder.prefix),
                limits: decoder.limits,
                bridge: (encoded != decoded).then(|| LinearPlan::new("enc_to_dec_proj", encoded, decoded)),
            }),
        }),
        // Nothing reads the encoder's pooler.
        pooler: None,
        heads: &["encoder.pooler.", "decoder.cls.", "decoder.lm_head."],
        output,
        initializer_range: decoder.initializer_range,
        head_epsilon: decoder.head_epsilon,
        head_dropout: decoder.head_dropout,
        row_position: RowPosition::LastToken,
        ..encoder
    };
    let tied = if is_tied { tied_weights(fields, &pair, types)? } else { Vec::new() };
    Ok(ModelPlan { tied, ..pair })
}

/// The key by which the encoder has the weights of the decoder.
const TIED: &str = "tie_encoder_decoder";

/// The weights of the encoder that are the decoder's: those at the same path below both models. Where the paths of all layers
/// differ (an encoder of ALBERT, a decoder of GPT-2), the layers are not tied.
fn tied_weights(
    fields: &Fields<'_>,
    pair: &ModelPlan,
    [encoder, decoder]: [&str; 2],
) -> Result<Vec<TiedWeight>, ModelConfigError> {
    let Some(DecoderPlan { own: Some(own), stack, .. }) = &pair.decoder else { return Ok(Vec::new()) };
    let shapes: BTreeMap<String, Vec<usize>> = pair.weights().map(|(name, shape, _)| (name, shape)).collect();
    let mut tied = Vec::new();
    for (name, shape) in &shapes {
        let Some(path) = name.strip_prefix(&own.scope) else { continue };
        let of_encoder = format!("{}{path}", pair.scope);
        match shapes.get(&of_encoder) {
            Some(other) if other == shape => tied.push(TiedWeight { encoder: of_encoder, decoder: name.clone() }),
            Some(other) => {
                let reason = format!("{TIED}: {of_encoder} is {other:?}, but {name} is {shape:?}");
                return Err(fields.inconsistent(reason));
            }
            None => {}
        }
    }
    // Transformers pairs layers by their numbers; of two classes it pairs none unless there are as many.
    let layers = [pair.stack.layers, stack.layers];
    let of_layer =
        |prefix: &str| tied.iter().any(|weight| weight.decoder.starts_with(&format!("{}{prefix}", own.scope)));
    if of_layer("encoder.layer.") && (layers[0] < layers[1] || (encoder != decoder && layers[0] != layers[1])) {
        let reason = format!(
            "{TIED}: a decoder \"{decoder}\" of {} layers cannot have its weights in an encoder \"{encoder}\" of {}",
            layers[1], layers[0]
        );
        return Err(fields.inconsistent(reason));
    }
    Ok(tied)
}

/// The plan of the encoder.
fn encoder_plan(fields: &Fields<'_>) -> Result<ModelPlan, ModelConfigError> {
    let model_type = fields.required_string("model_type")?;
    let is_encoder =
        |plan: &ModelPlan| plan.stack.kind == StackKind::Encoder && plan.decoder.is_none() && plan.languages.is_none();
    let plan = family(model_type).map(|family| (family.plan)(fields)).transpose()?;
    plan.filter(is_encoder).ok_or_else(|| {
        fields.unsupported("model_type", format!("\"{model_type}\""), "an encoder such as \"bert\" or \"roberta\"")
    })
}

/// The plan of the decoder: that of a model of its own, whose positions see those before them, with cross-attention.
fn decoder_plan(fields: &Fields<'_>) -> Result<(ModelPlan, &'static CrossNames), ModelConfigError> {
    let model_type = fields.required_string("model_type")?;
    let known = DECODERS.iter().find(|known| known.family.model_types.contains(&model_type));
    let Some(Decoding { family, cross, names }) = known else {
        let types = DECODERS.iter().flat_map(|known| known.family.model_types);
        let names: Vec<String> = types.map(|name| format!("\"{name}\"")).collect();
        return Err(fields.unsupported("model_type", format!("\"{model_type}\""), names.join(", ")));
    };
    let single = fields.without(&["is_decoder", "add_cross_attention"]);
    let mut plan = (family.plan)(&Fields::new(&single, &fields.file())?)?;
    if plan.embeddings.projection.is_some() {
        return Err(fields.unsupported("model_type", format!("\"{model_type}\""), "a decoder without a projection"));
    }
    for key in ["add_cross_attention", "is_decoder"] {
        if !fields.flag(key)? {
            return Err(
                fields.inconsistent(format!("{key} is not true, but the decoder of a pair attends to the encoder"))
            );
        }
    }
    let hidden = plan.stack.layer.hidden;
    if let Some(width) = fields.optional_size("cross_attention_hidden_size")?.filter(|width| *width != hidden) {
        return Err(fields.unsupported("cross_attention_hidden_size", width.to_string(), hidden.to_string()));
    }
    plan.stack.kind = StackKind::Decoder;
    plan.stack.layer.attention.causal = true;
    plan.stack.layer.cross = Some(cross(&plan.stack.layer));
    Ok((plan, names))
}

/// The first token of the decoder's input.
fn start(fields: &Fields<'_>, decoder: &Fields<'_>) -> Result<u32, ModelConfigError> {
    for (fields, key) in
        [(fields, "decoder_start_token_id"), (decoder, "decoder_start_token_id"), (decoder, "bos_token_id")]
    {
        if fields.is_set(key) {
            return Ok(fields.index(key, 0)? as u32);
        }
    }
    Err(fields.missing("decoder_start_token_id"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use crate::{ModelConfig, ModelConfigError};

    fn bert(more: Value) -> Value {
        let mut config = json!({
            "model_type": "bert", "vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
            "intermediate_size": 12, "max_position_embeddings": 10,
        });
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        config
    }

    fn read(encoder: Value, decoder: Value, more: Value) -> Result<ModelConfig, ModelConfigError> {
        let mut config = json!({
            "model_type": "encoder-decoder", "encoder": encoder, "decoder": decoder, "decoder_start_token_id": 2,
        });
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ModelConfig::from_json_str(&config.to_string())
    }

    fn decoder() -> Value {
        bert(json!({"is_decoder": true, "add_cross_attention": true}))
    }

    #[test]
    fn the_parameters_of_a_pair_are_those_of_both_models() {
        let parameters = |config: &ModelConfig| config.spec().parameters;
        let single = ModelConfig::from_json_str(&bert(json!({})).to_string()).unwrap();
        let pair = read(bert(json!({})), decoder(), json!({})).unwrap();
        // Without the two poolers; with four matrices and a norm of cross-attention in each layer of the decoder.
        assert_eq!(parameters(&pair), 2 * (parameters(&single) - 72) + 2 * (4 * 72 + 16));
        assert_eq!((pair.spec().layers(), pair.spec().layer_numbers()), (4, 2));
        // Its names are made once.
        let again = read(bert(json!({})), decoder(), json!({})).unwrap();
        assert!(std::ptr::eq(pair.spec().names.stacks, again.spec().names.stacks));
    }

    #[test]
    fn states_of_another_width_go_through_a_layer() {
        let wide = bert(json!({"is_decoder": true, "add_cross_attention": true, "hidden_size": 12}));
        let pair = read(bert(json!({})), wide, json!({})).unwrap();
        assert_eq!((pair.spec().hidden_size, pair.spec().embedding_size), (12, 8));
    }

    #[test]
    fn what_is_no_pair_is_an_error() {
        let error = |encoder, decoder, more| read(encoder, decoder, more).unwrap_err().to_string();
        let t5 = json!({"model_type": "t5"});
        for (found, part) in [
            (error(bert(json!({})), bert(json!({"is_decoder": true})), json!({})), "add_cross_attention is not true"),
            (error(bert(json!({})), t5.clone(), json!({})), "`decoder`"),
            (error(t5, decoder(), json!({})), "`encoder`"),
            (error(bert(json!({})), Value::Null, json!({})), "`decoder`"),
            (error(bert(json!({})), decoder(), json!({"decoder_start_token_id": 20})), "is not below the decoder's"),
            (error(bert(json!({})), decoder(), json!({"decoder_start_token_id": null})), "decoder_start_token_id"),
        ] {
            assert!(found.contains(part), "{found}");
        }
    }

    fn tied(encoder: Value, decoder: Value) -> Result<ModelConfig, ModelConfigError> {
        read(encoder, decoder, json!({"tie_encoder_decoder": true}))
    }

    #[test]
    fn weights_that_an_encoder_and_a_decoder_have_in_common_count_once() {
        let parameters = |config: Result<ModelConfig, ModelConfigError>| config.unwrap().spec().parameters;
        let apart = parameters(read(bert(json!({})), decoder(), json!({})));
        let single = ModelConfig::from_json_str(&bert(json!({})).to_string()).unwrap().spec().parameters - 72;
        assert_eq!(parameters(tied(bert(json!({})), decoder())), apart - single);
        // A further layer of the encoder is its own.
        let three = bert(json!({"num_hidden_layers": 3}));
        let own = parameters(read(three.clone(), decoder(), json!({}))) - apart;
        assert_eq!(parameters(tied(three, decoder())), apart - single + own);
        // GPT-2 has no module of a BERT's name.
        let gpt2 = json!({
            "model_type": "gpt2", "vocab_size": 20, "n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": 10,
            "is_decoder": true, "add_cross_attention": true,
        });
        let of_gpt2 = read(bert(json!({})), gpt2.clone(), json!({}));
        assert_eq!(parameters(tied(bert(json!({})), gpt2)), parameters(of_gpt2));
    }

    #[test]
    fn an_encoder_that_cannot_have_the_weights_of_the_decoder_is_an_error() {
        let roberta = |layers: usize| bert(json!({"model_type": "roberta", "num_hidden_layers": layers}));
        assert!(tied(roberta(2), decoder()).is_ok());
        for (encoder, decoder) in [
            (bert(json!({"num_hidden_layers": 1})), decoder()),
            (roberta(3), decoder()),
            (bert(json!({"hidden_size": 12})), decoder()),
            (bert(json!({"vocab_size": 21})), decoder()),
        ] {
            let error = tied(encoder, decoder).unwrap_err();
            assert!(matches!(error, ModelConfigError::Inconsistent { .. }), "{error}");
            assert!(error.to_string().contains("tie_encoder_decoder"), "{error}");
        }
    }
}
