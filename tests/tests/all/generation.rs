//! Generated tokens: those of Transformers, the same with other rows in the batch, and the ways that a row ends.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor};
use burn_adapters_checkpoint::load_adapter;
use burn_adapters_composition::Composition;
use burn_adapters_core::StackKind;
use burn_adapters_generate::{
    Flow, GenerateError, Generated, GenerationOptions, Sampling, StopReason, Strategy, generate, generate_with,
    head_logits,
};
use burn_adapters_heads::HeadConfig;
use burn_adapters_model::{AdapterBank, BaseModel, Forward, Hooks, Setup, TokenBatch};
use burn_adapters_tests::{families, read_json, values};
use burn_adapters_transformers::AutoModel;
use serde::Deserialize;

const ROWS: [&[u32]; 3] = [&[5, 9, 3, 7], &[8, 6], &[12, 4, 7, 5, 3]];

fn decoders() -> Vec<(String, AutoModel)> {
    let load = |family: &Path| {
        let (model, _) = AutoModel::from_dir(&family.join("models/tiny"), &Device::default()).unwrap();
        (family.file_name().unwrap().to_string_lossy().into_owned(), model)
    };
    let models = families().into_iter().map(|family| load(&family));
    models.filter(|(_, model)| model.spec().stack(StackKind::Decoder).is_some()).collect()
}

/// An output layer for models that have none here: their word embeddings.
fn tied(model: &AutoModel) -> impl Fn(Tensor<2>) -> Result<Tensor<2>, Box<dyn std::error::Error + Send + Sync>> {
    let words = model.word_table().unwrap().transpose();
    move |states| Ok(states.matmul(words.clone()))
}

fn ids(generated: &[Generated]) -> Vec<Vec<u32>> {
    generated.iter().map(|one| one.ids.clone()).collect()
}

/// What Transformers generates with the class that has a language model's head.
#[derive(Deserialize)]
struct Reference {
    prompts: Vec<Vec<u32>>,
    greedy: Vec<Vec<u32>>,
    beams: Vec<Vec<u32>>,
    penalized: Vec<Vec<u32>>,
    /// Tokens that end a text.
    ends: Vec<u32>,
    /// With a forced first token, which is there for encoder-decoders.
    forced: Option<(u32, Vec<Vec<u32>>)>,
    /// Four beams that may end: the length penalty, and the tokens.
    ended: Vec<(f64, Vec<Vec<u32>>)>,
    /// By the name of a case.
    adapters: BTreeMap<String, Vec<Vec<u32>>>,
}

#[test]
fn tokens_are_those_of_transformers() {
    let with_generation = |family: &PathBuf| family.join("generation.json").is_file();
    let (mut checked, mut adapters) = (0, 0);
    for family in families().into_iter().filter(with_generation) {
        let reference: Reference = read_json(&family.join("generation.json"));
        let (model, _) = AutoModel::from_dir(&family.join("models/with_head"), &Device::default()).unwrap();
        let logits = |states| Ok(model.token_logits(states)?);
        let prompts = TokenBatch::new(reference.prompts.iter().map(Vec::as_slice));
        let run = |hooks: &Hooks<'_>, options: GenerationOptions| {
            ids(&generate(&model, hooks, &prompts, &logits, &options.with_max_new_tokens(8)).unwrap())
        };
        let (plain, name) = (Hooks::none(), family.display());
        let greedy = GenerationOptions::greedy;
        assert_eq!(run(&plain, greedy()), reference.greedy, "{name}");
        assert_eq!(run(&plain, greedy().with_repetition_penalty(1.5)), reference.penalized, "{name}, penalized");
        assert_eq!(run(&plain, GenerationOptions::beams(3)), reference.beams, "{name}, beams");
        for (length_penalty, expected) in &reference.ended {
            let strategy = Strategy::Beams { count: 4, length_penalty: *length_penalty };
            let options = GenerationOptions::greedy().with_strategy(strategy).with_end_ids(reference.ends.clone());
            assert_eq!(&run(&plain, options), expected, "{name}, ended beams, length penalty {length_penalty}");
        }
        if let Some((first, expected)) = &reference.forced {
            assert_eq!(
                &run(&plain, GenerationOptions::beams(3).with_first_id(Some(*first))),
                expected,
                "{name}, forced"
            );
        }
        for (case, expected) in &reference.adapters {
            let mut bank = AdapterBank::new(model.spec(), &Device::default());
            load_adapter(family.join("cases").join(case), &mut bank, Some("a")).unwrap();
            assert_eq!(&run(&bank.hooks(&Setup::adapter("a")).unwrap(), greedy()), expected, "{name}, {case}");
            adapters += 1;
        }
        checked += 1;
    }
    assert!(checked >= 8 && adapters >= 20, "{checked} families, {adapters} adapters");
}

#[test]
fn a_row_is_generated_alone_as_in_a_batch() {
    for (name, model) in decoders() {
        let logits = tied(&model);
        for options in [GenerationOptions::greedy(), GenerationOptions::beams(3)] {
            let options = options.with_max_new_tokens(5).with_end_ids([1, 2, 3, 4]);
            let run = |rows: &[&[u32]]| {
                ids(&generate(&model, &Hooks::none(), &TokenBatch::new(rows.iter().copied()), &logits, &options)
                    .unwrap())
            };
            let alone: Vec<_> = ROWS.iter().flat_map(|row| run(&[row])).collect();
            assert_eq!(run(&ROWS), alone, "{name} {options:?}");
        }
    }
}

#[test]
fn each_row_of_a_routed_batch_is_generated_with_its_adapter() {
    for (name, model) in decoders() {
        let logits = tied(&model);
        let mut bank = AdapterBank::new(model.spec(), &Device::default());
        bank.add_seeded("a", "lora[r=2,init_weights='bert']".parse().unwrap(), 7).unwrap();
        bank.add_seeded("b", "prefix_tuning_flat[prefix_length=3]".parse().unwrap(), 8).unwrap();
        let options = GenerationOptions::greedy().with_max_new_tokens(6).with_end_ids([1, 2, 3]);
        let run = |setup: &Setup, rows: &[&[u32]]| {
            let hooks = bank.hooks(setup).unwrap();
            ids(&generate(&model, &hooks, &TokenBatch::new(rows.iter().copied()), &logits, &options).unwrap())
        };
        let routed: Composition = "Route([a, b, none])".parse().unwrap();
        let alone = [
            run(&Setup::adapter("a"), &ROWS[..1]),
            run(&Setup::adapter("b"), &ROWS[1..2]),
            run(&Setup::base(), &ROWS[2..]),
        ];
        assert_eq!(run(&Setup::compose(routed), &ROWS), alone.concat(), "{name}");
    }
}

#[test]
fn beams_of_a_routed_row_are_those_of_its_adapter_alone() {
    for (name, model) in decoders() {
        let mut bank = AdapterBank::new(model.spec(), &Device::default());
        let vocabulary = model.decoder_limits().vocabulary;
        for (adapter, config, seed) in
            [("a", "lora[r=2,init_weights='bert']", 7), ("b", "prefix_tuning_flat[prefix_length=3]", 8)]
        {
            bank.add_seeded(adapter, config.parse().unwrap(), seed).unwrap();
            bank.add_head_seeded(adapter, &HeadConfig::causal_lm(vocabulary), seed).unwrap();
        }
        bank.tie_heads(&model).unwrap();
        // Searches end at different times.
        let options = GenerationOptions::beams(3).with_max_new_tokens(6).with_end_ids([1, 2, 3, 4, 5, 6]);
        let run = |setup: &str, rows: &[&[u32]]| {
            let setup = Setup::compose(setup.parse::<Composition>().unwrap());
            let hooks = bank.hooks(&setup).unwrap();
            let logits = |states| head_logits(&model, &bank, &setup, states);
            ids(&generate(&model, &hooks, &TokenBatch::new(rows.iter().copied()), &logits, &options).unwrap())
        };
        let alone = [run("a", &ROWS[..1]), run("b", &ROWS[1..2]), run("a", &ROWS[2..])].concat();
        assert_eq!(run("Route([a, b, a])", &ROWS), alone, "{name}");
        let alone = [run("b", &ROWS[..1]), run("a", &ROWS[1..2]), run("a", &ROWS[2..])].concat();
        assert_eq!(run("BatchSplit(b, a, batch_sizes=[1, 2])", &ROWS), alone, "{name}");
    }
}

#[test]
fn heads_of_adapters_choose_the_tokens_of_their_rows() {
    let model = gpt2();
    let vocabulary = model.limits().vocabulary;
    let mut bank = AdapterBank::new(model.spec(), &Device::default());
    for (name, seed) in [("a", 3), ("b", 4)] {
        bank.add_seeded(name, "seq_bn_inv[reduction_factor=4]".parse().unwrap(), seed).unwrap();
        bank.add_head_seeded(name, &HeadConfig::causal_lm(vocabulary), seed).unwrap();
    }
    bank.tie_heads(&model).unwrap();
    let setup = Setup::compose("Route([b, a, b])".parse::<Composition>().unwrap());
    let hooks = bank.hooks(&setup).unwrap();
    let logits = |states| head_logits(&model, &bank, &setup, states);
    let options = GenerationOptions::greedy().with_max_new_tokens(4);
    let found = generate(&model, &hooks, &TokenBatch::new(ROWS), &logits, &options).unwrap();
    // The same without a cache, row by row, with logits of all tokens.
    for ((row, name), generated) in ROWS.iter().zip(["b", "a", "b"]).zip(&found) {
        let setup = Setup::adapter(name);
        let mut tokens = row.to_vec();
        for id in &generated.ids {
            let hooks = bank.hooks(&setup).unwrap();
            let output = model.forward(&TokenBatch::new([tokens.as_slice()]), &hooks).unwrap();
            let head = bank.logits(&setup, &output).unwrap().remove(0);
            let all = values(head.logits.into_values());
            let last = &all[all.len() - vocabulary..];
            let best = (0..vocabulary).max_by(|left, right| last[*left].total_cmp(&last[*right])).unwrap();
            assert_eq!(*id as usize, best);
            tokens.push(*id);
        }
    }
    // A row without an adapter has the model's own output layer.
    let partly = Setup::compose("Route([b, none, b])".parse::<Composition>().unwrap());
    let logits = |states| head_logits(&model, &bank, &partly, states);
    let routed = generate(&model, &bank.hooks(&partly).unwrap(), &TokenBatch::new(ROWS), &logits, &options).unwrap();
    let own = |states| Ok(model.token_logits(states)?);
    let base = generate(&model, &Hooks::none(), &TokenBatch::new([ROWS[1]]), &own, &options).unwrap();
    assert_eq!((&routed[0], &routed[1], &routed[2]), (&found[0], &base[0], &found[2]));
    // Heads of other tasks predict no tokens.
    bank.add_head_seeded("classes", &HeadConfig::classification(2), 1).unwrap();
    let classes = Setup::adapter("a").with_head("classes");
    let logits = |states| head_logits(&model, &bank, &classes, states);
    let hooks = bank.hooks(&classes).unwrap();
    let error = generate(&model, &hooks, &TokenBatch::new(ROWS), &logits, &options).unwrap_err();
    assert!(matches!(error, GenerateError::Logits(_)), "{error}");
}

#[test]
fn one_beam_is_greedy() {
    for (name, model) in decoders() {
        let logits = tied(&model);
        let run = |options: GenerationOptions| {
            let options = options.with_max_new_tokens(5);
            ids(&generate(&model, &Hooks::none(), &TokenBatch::new(ROWS), &logits, &options).unwrap())
        };
        assert_eq!(run(GenerationOptions::beams(1)), run(GenerationOptions::greedy()), "{name}");
    }
}

/// A GPT-2 and its output layer.
fn gpt2() -> AutoModel {
    decoders().into_iter().find(|(name, _)| name == "gpt2").unwrap().1
}

#[test]
fn samples_depend_on_the_seed() {
    let model = gpt2();
    let logits = tied(&model);
    let run = |seed: u64, rows: &[&[u32]]| {
        let options = GenerationOptions::sample(Sampling { seed, temperature: 3.0, ..Sampling::default() });
        let rows = TokenBatch::new(rows.iter().copied());
        ids(&generate(&model, &Hooks::none(), &rows, &logits, &options.with_max_new_tokens(8)).unwrap())
    };
    assert_eq!(run(5, &ROWS), run(5, &ROWS));
    assert_eq!(run(5, &ROWS)[..1], run(5, &ROWS[..1])[..]);
    assert_ne!(run(5, &ROWS), run(6, &ROWS));
    let twice = run(5, &[ROWS[0], ROWS[0]]);
    assert_ne!(twice[0], twice[1], "rows have random numbers of their own");
}

#[test]
fn a_row_ends_by_its_end_token_the_caller_or_a_limit() {
    let model = gpt2();
    let logits = tied(&model);
    let prompts = TokenBatch::new(ROWS);
    let options = GenerationOptions::greedy().with_max_new_tokens(6);
    let plain = generate(&model, &Hooks::none(), &prompts, &logits, &options).unwrap();
    assert!(plain.iter().all(|one| one.ids.len() == 6 && one.stopped == StopReason::MaxNewTokens));

    let end = plain[0].ids[2];
    let ended = generate(&model, &Hooks::none(), &prompts, &logits, &options.clone().with_end_ids([end])).unwrap();
    for (ended, plain) in ended.iter().zip(&plain) {
        let at = plain.ids.iter().position(|id| *id == end);
        assert_eq!(ended.ids, plain.ids[..at.map_or(6, |at| at + 1)]);
        assert_eq!(ended.stopped, if at.is_some() { StopReason::End } else { StopReason::MaxNewTokens });
    }

    let mut streamed = vec![Vec::new(); 3];
    let stopped = generate_with(&model, &Hooks::none(), &prompts, &logits, &options, &mut |row, token| {
        streamed[row].push(token);
        if row == 1 && streamed[row].len() == 2 { Flow::Stop } else { Flow::Continue }
    });
    let stopped = stopped.unwrap();
    assert_eq!(ids(&stopped), streamed);
    assert_eq!((stopped[1].ids.len(), stopped[1].stopped), (2, StopReason::Caller));
    assert_eq!(stopped[2], plain[2]);

    let beams = GenerationOptions::beams(2).with_max_new_tokens(6);
    let plain_beams = generate(&model, &Hooks::none(), &prompts, &logits, &beams).unwrap();
    let third = plain_beams[1].ids[2];
    let stopped = generate_with(&model, &Hooks::none(), &prompts, &logits, &beams, &mut |row, token| {
        if row == 1 && token == third { Flow::Stop } else { Flow::Continue }
    });
    let stopped = stopped.unwrap();
    let at = plain_beams[1].ids.iter().position(|id| *id == third).unwrap();
    assert_eq!((stopped[1].ids.as_slice(), stopped[1].stopped), (&plain_beams[1].ids[..=at], StopReason::Caller));
    assert_eq!(stopped[2], plain_beams[2]);

    // 40 positions: the longest row ends first, and the others go on as if it were not there.
    let most = model.limits().sequence;
    let long: Vec<u32> = (0..most as u32 - 2).map(|id| 5 + id % 30).collect();
    let rows = TokenBatch::new([long.as_slice(), ROWS[0]]);
    let found = generate(&model, &Hooks::none(), &rows, &logits, &options).unwrap();
    assert_eq!((found[0].ids.len(), found[0].stopped), (2, StopReason::MaxLength));
    assert_eq!(found[1], plain[0]);
}

#[test]
fn what_cannot_be_generated_is_an_error() {
    let model = gpt2();
    let logits = tied(&model);
    let prompts = TokenBatch::new(ROWS);
    let options = GenerationOptions::greedy();
    let error = |prompts: &TokenBatch, options: &GenerationOptions| {
        generate(&model, &Hooks::none(), prompts, &logits, options).unwrap_err()
    };
    let bad = GenerationOptions::sample(Sampling { temperature: 0.0, ..Sampling::default() });
    assert!(matches!(error(&prompts, &bad), GenerateError::BadOption { option: "temperature", .. }));
    let long: Vec<u32> = vec![5; model.limits().sequence];
    assert!(matches!(error(&TokenBatch::new([long.as_slice()]), &options), GenerateError::NoRoom { row: 0, .. }));
    assert!(matches!(error(&TokenBatch::new([[9999].as_slice()]), &options), GenerateError::Model(_)));

    let broken = |states: Tensor<2>| Ok(logits(states)? * f32::NAN);
    let found = generate(&model, &Hooks::none(), &prompts, &broken, &options).unwrap_err();
    assert!(matches!(found, GenerateError::NotFinite { row: 0 }), "{found}");

    let mut bank = AdapterBank::new(model.spec(), &Device::default());
    bank.add("a", "lora".parse().unwrap()).unwrap();
    bank.add("b", "lora".parse().unwrap()).unwrap();
    let parallel: Composition = "Parallel(a, b)".parse().unwrap();
    let hooks = bank.hooks(&Setup::compose(parallel)).unwrap();
    let found = generate(&model, &hooks, &prompts, &logits, &options).unwrap_err();
    assert!(matches!(found, GenerateError::Branches { rows: 3, found: 6 }), "{found}");
}
