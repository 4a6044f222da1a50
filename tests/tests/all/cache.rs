//! A decoder that continues from a cache computes what it computes of the whole sequence.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use burn::tensor::{Device, Tensor};
use burn_adapters_core::{KeptGates, StackKind};
use burn_adapters_model::{AdapterBank, BaseError, BaseModel, Forward, Hooks, KvCache, Reads, Setup, TokenBatch};
use burn_adapters_tests::{families, family_cases, largest_difference, values};
use burn_adapters_transformers::AutoModel;

/// Cached and whole passes add the same numbers in another order.
const TOLERANCE: f32 = 1e-5;

/// Rows of a sequence of tokens, of which the first few are read at once and the others one by one.
const ROWS: [&[u32]; 3] = [&[5, 9, 3, 7, 11, 4], &[8, 6, 10, 3, 9], &[12, 4, 7, 5, 3, 8, 10]];
const FIRST: [usize; 3] = [3, 2, 4];
const STEPS: usize = 3;

/// A batch of tokens of each row: for an encoder-decoder model, of its decoder.
fn batch(model: &dyn BaseModel, rows: &[&[u32]]) -> TokenBatch {
    let tokens = TokenBatch::new(rows.iter().copied());
    match model.spec().stack(StackKind::Encoder) {
        Some(_) => TokenBatch::new(ROWS).with_decoder(tokens),
        None => tokens,
    }
}

/// The states of the last tokens after each pass: `[rows, hidden]`.
fn last(model: &dyn BaseModel, rows: &[&[u32]], hidden: Tensor<3>, tokens: &[usize]) -> Vec<Vec<f32>> {
    let [copies, _, _] = hidden.dims();
    assert_eq!(copies % rows.len(), 0);
    let _ = model;
    (0..copies).map(|row| values(hidden.clone().narrow(0, row, 1).narrow(1, tokens[row % rows.len()], 1))).collect()
}

fn check(what: &str, model: &dyn BaseModel, hooks: &Hooks<'_>) {
    let (mut cache, mut gates) = (KvCache::new(), KeptGates::default());
    for step in 0..=STEPS {
        let read = |row: usize| FIRST[row] + step;
        let new: Vec<&[u32]> = (0..ROWS.len())
            .map(|row| if step == 0 { &ROWS[row][..FIRST[row]] } else { &ROWS[row][read(row) - 1..read(row)] })
            .collect();
        let whole: Vec<&[u32]> = (0..ROWS.len()).map(|row| &ROWS[row][..read(row)]).collect();
        let output = model.forward_cached(&batch(model, &new), hooks, Reads::All, &mut cache).unwrap();
        let positions: Vec<usize> = output.tokens.iter().map(|span| span.last()).collect();
        let found = last(model, &new, output.hidden, &positions);
        // Gates are those of the first tokens.
        let output =
            gates.during(|| model.forward(&batch(model, if step == 0 { &new } else { &whole }), hooks)).unwrap();
        let positions: Vec<usize> = output.tokens.iter().map(|span| span.last()).collect();
        let expected = last(model, &whole, output.hidden, &positions);
        assert_eq!(found.len(), expected.len());
        for (row, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let difference = largest_difference(found, expected);
            assert!(difference <= TOLERANCE, "{what}, step {step}, row {row}: {difference:e}");
        }
    }
    assert_eq!((0..ROWS.len()).map(|row| cache.tokens(row)).collect::<Vec<_>>(), FIRST.map(|first| first + STEPS));
}

fn decoders() -> Vec<(String, AutoModel)> {
    let models = families().into_iter().map(|family| {
        let (model, _) = AutoModel::from_dir(&family.join("models/tiny"), &Device::default()).unwrap();
        (family.file_name().unwrap().to_string_lossy().into_owned(), model)
    });
    models.filter(|(_, model)| model.spec().stack(StackKind::Decoder).is_some()).collect()
}

#[test]
fn a_model_without_adapters_continues() {
    let models = decoders();
    assert!(models.len() > 5);
    for (name, model) in models {
        check(&name, &model, &Hooks::none());
    }
}

#[test]
fn every_method_continues() {
    let mut methods = std::collections::BTreeSet::new();
    for case in family_cases() {
        let (model, bank) = case.load(&Device::default());
        // ReFT intervenes at positions of the whole sequence.
        let is_local = !case.config.contains("reft");
        if model.spec().stack(StackKind::Decoder).is_some() && is_local {
            methods.insert(case.method.clone());
            check(&case.folder, &model, &bank.hooks(&case.setup()).unwrap());
        }
    }
    assert!(methods.len() > 5, "{methods:?}");
}

#[test]
fn rows_of_different_adapters_continue() {
    for (name, model) in decoders() {
        let mut bank = AdapterBank::new(model.spec(), &Device::default());
        for (index, config) in
            ["lora", "prefix_tuning_flat[prefix_length=3]", "prompt_tuning[prompt_length=2]"].iter().enumerate()
        {
            bank.add_seeded(["a", "b", "c"][index], config.parse().unwrap(), 7).unwrap();
        }
        for composition in
            ["Route([a, b, none])", "Parallel(a, b)", "Stack(a, b)", "BatchSplit(a, b, batch_sizes=[1, 2])", "c"]
        {
            let setup = match composition {
                "c" => Setup::adapter("c"),
                composition => Setup::compose(composition.parse::<burn_adapters_composition::Composition>().unwrap()),
            };
            check(&format!("{name} {composition}"), &model, &bank.hooks(&setup).unwrap());
        }
    }
}

#[test]
fn a_cache_of_chosen_rows_continues_those() {
    for (name, model) in decoders() {
        let hooks = Hooks::none();
        let mut cache = KvCache::new();
        let first: Vec<&[u32]> = (0..3).map(|row| &ROWS[row][..FIRST[row]]).collect();
        model.forward_cached(&batch(&model, &first), &hooks, Reads::First, &mut cache).unwrap();
        let next: Vec<&[u32]> = vec![&[3], &[4], &[5]];
        let order = [2, 0, 0];
        let step = |cache: &mut KvCache, next: &[&[u32]], encoded: [usize; 3]| {
            let tokens = TokenBatch::new(next.iter().copied());
            let batch = match model.spec().stack(StackKind::Encoder) {
                Some(_) => TokenBatch::new(encoded.map(|row| ROWS[row])).with_decoder(tokens),
                None => tokens,
            };
            values(model.forward_cached(&batch, &hooks, Reads::First, cache).unwrap().hidden)
        };
        let found = step(&mut cache.select(&order), &order.map(|row| next[row]), order);
        let all = step(&mut cache, &next, [0, 1, 2]);
        let width = all.len() / 3;
        let expected: Vec<f32> = order.iter().flat_map(|row| all[row * width..(row + 1) * width].to_vec()).collect();
        assert!(largest_difference(&found, &expected) <= TOLERANCE, "{name}");
    }
}

#[test]
fn a_cache_that_does_not_fit_is_an_error() {
    let (_, model) = decoders().into_iter().find(|(name, _)| name == "gpt2").unwrap();
    let hooks = Hooks::none();
    let mut cache = KvCache::new();
    model.forward_cached(&TokenBatch::new([[3, 4].as_slice()]), &hooks, Reads::First, &mut cache).unwrap();
    let two = TokenBatch::new([[3].as_slice(), &[4]]);
    let error = model.forward_cached(&two, &hooks, Reads::First, &mut cache).unwrap_err();
    assert!(matches!(error, BaseError::CacheRows { rows: 1, found: 2 }), "{error}");
    let most = model.limits().sequence as u32;
    let long: Vec<u32> = (0..most).map(|id| id % 50).collect();
    let error =
        model.forward_cached(&TokenBatch::new([long.as_slice()]), &hooks, Reads::First, &mut cache).unwrap_err();
    assert!(matches!(error, BaseError::TooLong { .. }), "{error}");
    assert_eq!(cache.tokens(0), 2, "what it holds is unchanged");

    let encoder = families().into_iter().find(|family| family.ends_with("distilbert")).unwrap();
    let (encoder, _) = AutoModel::from_dir(&encoder.join("models/tiny"), &Device::default()).unwrap();
    let error = encoder.forward_cached(&two, &hooks, Reads::First, &mut KvCache::new()).unwrap_err();
    assert!(matches!(error, BaseError::NoCache), "{error}");
}

#[test]
fn rows_of_a_decoder_must_fit_the_batch_and_the_model() {
    let models = decoders();
    let model = |name: &str| &models.iter().find(|(found, _)| found == name).unwrap().1;
    let two = TokenBatch::new([[3].as_slice(), &[4]]);
    let batch = TokenBatch::new([[5, 6].as_slice()]).with_decoder(two);
    let error = model("bart").forward(&batch, &Hooks::none()).unwrap_err();
    assert!(matches!(error, BaseError::DecoderRows { rows: 1, found: 2 }), "{error}");
    let error = model("gpt2").forward(&batch, &Hooks::none()).unwrap_err();
    assert!(matches!(error, BaseError::NoDecoder), "{error}");
    let unknown = TokenBatch::new([[5].as_slice()]).with_decoder(TokenBatch::new([[9999].as_slice()]));
    let error = model("t5").forward(&unknown, &Hooks::none()).unwrap_err();
    assert!(matches!(error, BaseError::UnknownToken { id: 9999, .. }), "{error}");
}
