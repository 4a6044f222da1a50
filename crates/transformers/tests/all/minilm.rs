//! The real all-MiniLM-L6-v2 against hidden states of the reference.
//!
//! `BURN_ADAPTERS_MINILM` names its Hugging Face folder, `BURN_ADAPTERS_MINILM_GOLDENS` safetensors files (separated by
//! commas) with `input_ids`, `attention_mask`, `token_type_ids` and what the reference gives for them:
//! `last_hidden_state`, `hidden_states.N` and `pooler_output`.
//!
//! At positions of padding the real model amplifies rounding: the reference's own f32 is up to 1e-4 away from its f64
//! there in the middle layers (and 4e-6 at tokens), so those are looked at in the last layer only.

use std::path::Path;

use crate::common::{batch, differences, read, without_padding};
use burn::tensor::Device;
use burn_adapters_model::{Forward, Hooks};
use burn_adapters_transformers::{AutoModel, Tokenizer};

#[test]
#[ignore = "needs the weights of all-MiniLM-L6-v2"]
fn minilm_gives_the_hidden_states_of_the_reference() {
    let folder = std::env::var("BURN_ADAPTERS_MINILM").unwrap();
    for device in [Device::default(), Device::default().autodiff()] {
        let (bert, report) = AutoModel::from_dir(Path::new(&folder), &device).unwrap();
        println!("{report}");
        for file in std::env::var("BURN_ADAPTERS_MINILM_GOLDENS").unwrap().split(',') {
            let goldens = read(Path::new(file));
            let batch = batch(&goldens);
            let states = bert.hidden_states(&batch, &Hooks::none()).unwrap();
            let output = bert.forward(&batch, &Hooks::none()).unwrap();
            let everywhere = differences(&states, &output, &goldens);
            let (states, goldens) = without_padding(&states, &goldens);
            let mut output = output;
            output.hidden = states[states.len() - 1].clone();
            let at_tokens = differences(&states, &output, &goldens);
            println!("{file}\n  at tokens: {at_tokens:?}\n  with padding: {everywhere:?}");
            assert!(at_tokens.values().all(|difference| *difference < 1e-4));
            assert!(everywhere["last_hidden_state"] < 1e-4);
        }
    }
}

#[test]
#[ignore = "needs the vocabulary of all-MiniLM-L6-v2"]
fn minilm_s_tokenizer_gives_the_tokens_of_the_reference() {
    let folder = std::env::var("BURN_ADAPTERS_MINILM").unwrap();
    let texts = [
        "A fine film, with a heart.",
        "ok",
        "It's the kind of movie that, ignorant of its limits, goes on and on and on and on about nothing much at all; \
         Ünïcödé 漢字 too!",
    ];
    let expected: [&[u32]; 3] = [
        &[101, 1037, 2986, 2143, 1010, 2007, 1037, 2540, 1012, 102],
        &[101, 7929, 102],
        &[
            101, 2009, 1005, 1055, 1996, 2785, 1997, 3185, 2008, 1010, 21591, 1997, 2049, 6537, 1010, 3632, 2006, 1998,
            2006, 1998, 2006, 1998, 2006, 2055, 2498, 2172, 2012, 2035, 1025, 27260, 1904, 100, 2205, 999, 102,
        ],
    ];
    let with_vocabulary_only = tempfile::tempdir().unwrap();
    for file in ["config.json", "vocab.txt", "tokenizer_config.json"] {
        std::fs::copy(Path::new(&folder).join(file), with_vocabulary_only.path().join(file)).unwrap();
    }
    for folder in [Path::new(&folder), with_vocabulary_only.path()] {
        let tokenizer = Tokenizer::from_dir(folder).unwrap();
        let encoded = tokenizer.encode(&texts, 512).unwrap();
        for (row, expected) in encoded.rows.iter().zip(expected) {
            assert_eq!(row.ids, expected);
        }
        let cut = tokenizer.encode(&texts, 6).unwrap();
        assert_eq!((cut.rows[0].ids.as_slice(), cut.truncated), ([101, 1037, 2986, 2143, 1010, 102].as_slice(), 2));
    }
}
