//! Parity of compositions with the Python reference; see `goldens/make.py`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashSet;

use burn_adapters_composition::{AdapterSetup, Block, Composition, HeadSetup};
use serde_json::Value;

fn golden() -> Value {
    serde_json::from_str(include_str!("../goldens/reference_compositions.json")).unwrap()
}

fn items<'a>(golden: &'a Value, key: &str) -> &'a [Value] {
    let items = golden[key].as_array().unwrap();
    assert!(!items.is_empty(), "{key}");
    items
}

fn text(item: &Value) -> &str {
    item["text"].as_str().unwrap()
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|item| item.as_str().unwrap()).collect()
}

/// The last digits of weights may differ: the reference divides twice.
fn assert_close(ours: &Value, theirs: &Value, what: &str) {
    match (ours, theirs) {
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            assert!((a - b).abs() <= 1e-15 * b.abs(), "{what}: {a} is not {b}");
        }
        (Value::Array(a), Value::Array(b)) => {
            assert_eq!(a.len(), b.len(), "{what}");
            a.iter().zip(b).for_each(|(a, b)| assert_close(a, b, what));
        }
        (Value::Object(a), Value::Object(b)) => {
            assert!(a.keys().eq(b.keys()), "{what}: {ours} is not {theirs}");
            a.iter().for_each(|(key, a)| assert_close(a, &b[key], what));
        }
        _ => assert_eq!(ours, theirs, "{what}"),
    }
}

#[test]
fn the_references_expressions_are_texts_and_give_its_json() {
    for item in items(&golden(), "compositions") {
        let composition = Composition::parse(text(item)).unwrap_or_else(|error| panic!("{}: {error}", text(item)));
        assert_close(&composition.to_json_value(), &item["json"], text(item));
    }
}

#[test]
fn the_references_json_is_read_as_the_composition_that_it_saved() {
    for item in items(&golden(), "compositions") {
        let read = Composition::from_json_value(&item["json"]).unwrap();
        read.validate().unwrap();
        assert_close(&read.to_json_value(), &item["json"], text(item));
        let by_serde: Composition = serde_json::from_value(item["json"].clone()).unwrap();
        assert_eq!(by_serde, read);
        assert_eq!(serde_json::to_value(&read).unwrap(), read.to_json_value());
        if !text(item).contains("Average") && text(item).contains('(') {
            assert_eq!(read, text(item).parse().unwrap());
        }
    }
}

#[test]
fn questions_are_answered_as_by_the_reference() {
    for item in items(&golden(), "compositions") {
        let composition: Composition = text(item).parse().unwrap();
        assert_eq!(composition.first(), item["first"].as_str(), "{composition}");
        assert_eq!(composition.last(), item["last"].as_str(), "{composition}");
        assert_eq!(Some(composition.len() as u64), item["length"].as_u64(), "{composition}");
        let channels = Some(composition.parallel_channels() as u64);
        assert_eq!(channels, item["parallel_channels"].as_u64(), "{composition}");
        assert_eq!(composition.fusions(), strings(&item["fusions"]), "{composition}");
        let mut names = composition.names();
        names.sort_unstable();
        assert_eq!(names, strings(&item["names"]), "{composition}");
        assert!(names.iter().all(|name| composition.contains(name)) && !composition.contains("nobody"));
    }
}

#[test]
fn each_composition_gets_the_heads_that_the_reference_gives_it() {
    for item in items(&golden(), "compositions") {
        let composition: Composition = text(item).parse().unwrap();
        let heads = HeadSetup::of_adapters(&composition);
        let json = heads.as_ref().map_or(Value::Null, HeadSetup::to_json_value);
        assert_eq!(json, item["heads"], "{composition}");
        if let Some(heads) = heads {
            assert_eq!(HeadSetup::from_json_value(&json), Ok(heads), "{composition}");
        }
    }
}

/// Every chain of up to four blocks in each other, as text.
fn chains() -> Vec<Vec<Block>> {
    let blocks = Block::ALL.into_iter().filter(|block| *block != Block::Route).collect::<Vec<_>>();
    let mut all: Vec<Vec<Block>> = Vec::new();
    let mut longest: Vec<Vec<Block>> = vec![Vec::new()];
    for _ in 0..4 {
        let longer = |chain: &Vec<Block>| blocks.iter().map(|block| [chain.as_slice(), &[*block]].concat()).collect();
        longest = longest.iter().flat_map(|chain| -> Vec<Vec<Block>> { longer(chain) }).collect();
        all.extend(longest.iter().cloned());
    }
    all
}

fn nested(chain: &[Block]) -> Composition {
    chain.iter().rev().fold(Composition::from("a"), |inner, block| match block {
        Block::Stack => Composition::stack([inner]),
        Block::Fuse => Composition::fuse([inner]),
        Block::Split => Composition::split([inner], 1),
        Block::BatchSplit => Composition::batch_split([inner], 1),
        Block::Parallel => Composition::parallel([inner]),
        Block::Average => Composition::average([inner]),
        Block::Route => Composition::open_route(),
    })
}

#[test]
fn exactly_the_nestings_of_the_reference_are_valid() {
    let golden = golden();
    let valid: HashSet<&str> = strings(&golden["valid_chains"]).into_iter().collect();
    let chains = chains();
    assert_eq!(chains.len(), 6 + 36 + 216 + 1296);
    for chain in chains {
        let names: Vec<_> = chain.iter().map(|block| block.name()).collect();
        let composition = nested(&chain);
        let ours = composition.validate();
        assert_eq!(ours.is_ok(), valid.contains(names.join(" ").as_str()), "{composition}: {ours:?}");
    }
}

#[test]
fn the_files_that_a_model_saves_are_read_and_written() {
    for item in items(&golden(), "saved") {
        let setup = AdapterSetup::from_json_value(&item["file"]).unwrap();
        assert_eq!(setup.version.as_deref(), Some(AdapterSetup::VERSION));
        let heads = item["heads"].as_str().unwrap();
        let expected = if heads == "None" { None } else { Some(read_heads(heads)) };
        assert_eq!(setup.heads, expected, "{heads}");
        assert_close(&setup.adapters.to_json_value(), &item["file"]["adapter_setup"], text(item));
        if !heads.starts_with("Parallel") {
            assert_close(&setup.to_json_value(), &item["file"], text(item));
        }
        assert_eq!(AdapterSetup::from_json_str(&setup.to_json_string()), Ok(setup));
    }
}

fn read_heads(heads: &str) -> HeadSetup {
    heads.parse().unwrap_or_else(|error| panic!("{heads}: {error}"))
}

#[test]
fn what_the_reference_forgets_is_written_so_that_it_reads_it() {
    for item in items(&golden(), "extended") {
        let composition: Composition = text(item).parse().unwrap();
        assert_close(&composition.to_json_value(), &item["json"], text(item));
        assert_eq!(Composition::from_json_value(&item["json"]), Ok(composition));
    }
}
