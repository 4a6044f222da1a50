//! All errors of compositions, and how they are reported.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::{Duration, Instant};

use burn_adapters_composition::{
    AdapterSetup, Block, Composition, CompositionError, HeadSetup, JsonError, ProblemKind, ProblemKind as Kind,
};
use serde_json::json;

fn error(text: &str) -> CompositionError {
    match Composition::parse(text) {
        Ok(composition) => panic!("{text} was read as {composition}"),
        Err(error) => error,
    }
}

macro_rules! problem {
    ($text:expr, $under:expr, $kind:pat $(if $guard:expr)?) => {{
        let error = error($text);
        let problem = &error.problems()[0];
        assert_eq!(error.problems().len(), 1, "{}: {error}", $text);
        assert_eq!(&error.text()[problem.span.clone()], $under, "{}", $text);
        assert!(matches!(&problem.kind, $kind $(if $guard)?), "{}: {:?}", $text, problem.kind);
    }};
}

#[test]
fn an_unknown_block_points_at_itself_and_at_the_one_that_was_meant() {
    problem!("Stack(a, Fuze(b, c))", "Fuze", Kind::UnknownBlock { nearest: Some("Fuse"), .. });
    problem!("stack(a, b)", "stack", Kind::UnknownBlock { nearest: Some("Stack"), .. });
    problem!("batch_split(a, batch_sizes=1)", "batch_split", Kind::UnknownBlock { nearest: Some("BatchSplit"), .. });
    problem!("ac.Stack(a, b)", "ac.Stack", Kind::UnknownBlock { nearest: Some("Stack"), .. });
    problem!("bananas(a)", "bananas", Kind::UnknownBlock { nearest: None, .. });
    let task = error("MultiTask(a, b)");
    assert_eq!(task.problems()[0].label(), "write `Route`");
    assert!(task.problems()[0].help().unwrap().contains("each row"));
}

#[test]
fn a_keyword_is_no_name_unless_it_is_quoted() {
    problem!("Stack(a, Fuse)", "Fuse", Kind::Keyword { word } if word == "Fuse");
    problem!("none", "none", Kind::Keyword { .. });
    problem!("Route([a, Stack])", "Stack", Kind::Keyword { .. });
    assert_eq!(Composition::parse("Stack('Fuse', \"none\")"), Ok(Composition::stack(["Fuse", "none"])));
    assert_eq!(
        error("Fuse").problems()[0].label(),
        "write `Fuse(…)` for the block, or `'Fuse'` for an adapter of that name"
    );
}

#[test]
fn arguments_are_told_apart() {
    problem!("Split(a, b, split=[1, 2], splits=1)", "split", Kind::UnknownArgument { nearest: Some("splits"), .. });
    problem!("Stack(a, splits=[1])", "splits", Kind::UnknownArgument { elsewhere: Some(Block::Split), .. });
    problem!("Split(a, splits=1, splits=2)", "splits", Kind::DuplicateArgument { .. });
    problem!("Split(a, b)", "Split", Kind::MissingArgument { argument: "splits", .. });
    problem!("BatchSplit(a, b)", "BatchSplit", Kind::MissingArgument { argument: "batch_sizes", .. });
    problem!("Split(a, b, splits=[1, -2])", "-2", Kind::WrongType { argument: "splits", .. });
    problem!("Split(a, b, splits=[1, 2.5])", "2.5", Kind::WrongType { .. });
    problem!("Split(a, b, splits=['1', 2])", "'1'", Kind::WrongType { found, .. } if found == "the string '1'");
    problem!("Split(a, b, splits=many)", "many", Kind::WrongType { .. });
    problem!("Average(a, b, weights=0.5)", "0.5", Kind::WrongType { argument: "weights", .. });
    problem!("Average(a, b, weights=[1, nan])", "nan", Kind::WrongType { .. });
    problem!("Average(a, b, weights=[1, 1e999])", "1e999", Kind::WrongType { .. });
    problem!("Average(a, b, normalize_weights=0)", "0", Kind::WrongType { .. });
    problem!("Fuse(a, b, name=[a])", "[a]", Kind::WrongType { argument: "name", .. });
    assert_eq!(error("Split(a, b, splits=[1, -2])").to_string(), "`splits` must be a list of whole numbers, not `-2`");
}

#[test]
fn what_does_not_belong_is_named_with_what_does() {
    problem!("", "", Kind::Empty);
    problem!(" \n", " \n", Kind::Empty);
    problem!("a, b", ", b", Kind::TrailingText { .. });
    problem!("Stack(a b)", "b", Kind::Expected { expected: "`,` or `)`", .. });
    problem!("Stack[a, b]", "[", Kind::Expected { expected: "`(`", .. });
    problem!("Fuse(a, Stack[b, c])", "[", Kind::Expected { .. });
    problem!("Stack(a, , b)", ",", Kind::Expected { .. });
    problem!("Stack(a, (b))", "(", Kind::Expected { .. });
    problem!("Stack([a, b])", "[", Kind::Expected { .. });
    problem!("Route(a, [b])", "a", Kind::Expected { .. });
    problem!("Stack(a", "(", Kind::Unclosed { opener: '(' });
    problem!("Stack(a, Fuse(b, c)", "(", Kind::Unclosed { opener: '(' });
    problem!("Stack(a, Fuse(b, c", "(", Kind::Unclosed { opener: '(' });
    problem!("Stack('a, b)", "'", Kind::Unclosed { opener: '\'' });
    problem!("Split(a, b, splits=[1, 2)", "[", Kind::Unclosed { opener: '[' });
    problem!(r"'a\q'", r"\q", Kind::BadEscape { .. });
    problem!(r"'a\ud800'", r"\ud800", Kind::BadEscape { .. });
    problem!("Fuse(a, name=, b)", ",", Kind::Expected { expected: "a value", .. });
}

#[test]
fn several_problems_are_told_at_once_in_the_order_of_the_text() {
    let error = error("Stack(a, Fuze(b), Split(c, d, splits=[x, 2], weights=1), Average(e, weights=[1, y]), , 'f)");
    let told: Vec<_> = error.problems().iter().map(|problem| &error.text()[problem.span.clone()]).collect();
    assert_eq!(told, ["Fuze", "x", "weights", "y", ",", "'"]);
}

#[test]
fn a_broken_rule_shows_where() {
    let error = error("Stack(a, Fuse(b, Parallel(c, d)))");
    let problem = &error.problems()[0];
    assert_eq!(problem.place(), "Stack > Fuse > Parallel");
    assert_eq!(problem.message(), "`Parallel` is not allowed in `Fuse`");
    assert_eq!(problem.label(), "expected an adapter or `Stack`");
    assert_eq!(&error.text()[problem.span.clone()], "Parallel");
    assert_eq!(problem.help().unwrap(), "`Parallel` is allowed at the top, or in `Stack`");
    assert_eq!(
        error.to_string(),
        "Stack > Fuse > Parallel: `Parallel` is not allowed in `Fuse` (expected an adapter or `Stack`)"
    );
}

#[test]
fn rules_about_numbers_point_at_the_number() {
    problem!("Split(a, b, splits=[64])", "[64]", Kind::Length { found: 1, children: 2, .. });
    problem!("Split(a, b, splits=[64, 0])", "0", Kind::ZeroSize { argument: "splits" });
    problem!("BatchSplit(a, b, batch_sizes=0)", "0", Kind::ZeroSize { .. });
    problem!("Average(a, b, weights=[1])", "[1]", Kind::Length { .. });
    problem!("Average(a, b, weights=[1, -1])", "[1, -1]", Kind::ZeroSum { .. });
    problem!("Average(a, b, weights=[1e308, 1e308])", "[1e308, 1e308]", Kind::ZeroSum { .. });
    Composition::parse("Average(a, b, weights=[1, -1], normalize_weights=False)").unwrap();
    let infinite = Composition::average(["a", "b"]).with_weights([1.0, f64::INFINITY]).validate().unwrap_err();
    assert_eq!(&infinite.text()[infinite.problems()[0].span.clone()], "inf");
}

#[test]
fn rules_about_blocks_point_at_the_block() {
    problem!("Stack()", "Stack", Kind::NoChildren { block: Block::Stack });
    problem!("Stack(a, Fuse())", "Fuse", Kind::NoChildren { block: Block::Fuse });
    problem!("Stack(a, '')", "''", Kind::EmptyName { .. });
    problem!("Fuse(a, b, name='')", "''", Kind::EmptyName { .. });
    problem!("Route([a, ''])", "''", Kind::EmptyName { .. });
    problem!("Stack(Parallel(a, Average(b, c)))", "Average", Kind::TooManyLevels { level: 3, .. });
    problem!("Stack(Parallel(a, b), Parallel(c, d, e))", "Parallel", Kind::ParallelMismatch { found: 3, before: 2 });
    let early = "Stack(BatchSplit(a, b, batch_sizes=1), Parallel(c, d))";
    problem!(early, "BatchSplit", Kind::BatchSplitBeforeParallel);
    Composition::parse("Stack(Parallel(c, d), BatchSplit(a, b, batch_sizes=2))").unwrap();
}

#[test]
fn the_parts_must_make_up_the_batch() {
    let fits = |text: &str, batch, tokens| Composition::parse(text).unwrap().validate_for_batch(batch, tokens);
    assert!(fits("BatchSplit(a, b, batch_sizes=[1, 3])", 4, None).is_ok());
    assert!(fits("BatchSplit(a, b, batch_sizes=[1, 3])", 5, None).is_err());
    assert!(fits("Stack(Parallel(a, b), BatchSplit(c, d, batch_sizes=[2, 4]))", 3, None).is_ok());
    assert!(fits("Stack(Parallel(a, b), BatchSplit(c, d, batch_sizes=[1, 2]))", 3, None).is_err());
    assert!(fits("Stack(Parallel(a, b), Parallel(c, d))", 3, None).is_ok());
    assert!(fits("Parallel(c, BatchSplit(d, e, batch_sizes=[1, 2]))", 3, None).is_ok());
    assert!(fits("Split(a, b, splits=[48, 80])", 4, Some(128)).is_ok());
    assert!(fits("Split(a, b, splits=[48, 80])", 4, None).is_ok());
    assert!(fits("Split(a, Split(b, c, splits=[40, 40]), splits=[48, 80])", 4, Some(128)).is_ok());
    assert!(fits("Split(a, Split(b, c, splits=[40, 41]), splits=[48, 80])", 4, None).is_err());
    assert!(fits("BatchSplit(a, BatchSplit(b, c, batch_sizes=[1, 2]), batch_sizes=[1, 3])", 4, None).is_ok());
    assert!(fits("Route([a, none])", 2, None).is_ok());
    assert!(fits("Stack(Parallel(a, b), Route([a, none]))", 2, None).is_ok());

    let huge = Composition::batch_split(["a", "b"], usize::MAX);
    assert!(huge.validate_for_batch(4, None).unwrap_err().to_string().contains("36893488147419103230"));

    let error = fits("Stack(a, Route([a, none]))", 3, None).unwrap_err();
    assert_eq!(error.to_string(), "Stack > Route: `Route` has 2 rows, but the batch has 3");
    assert_eq!(&error.text()[error.problems()[0].span.clone()], "[a, none]");
    let open = fits("Route()", 3, None).unwrap_err();
    assert!(matches!(open.problems()[0].kind, Kind::RowsNotGiven));
}

#[test]
fn heads_are_told_apart_from_adapters() {
    let error = "Fuse(a, b)".parse::<HeadSetup>().unwrap_err();
    assert!(matches!(error.problems()[0].kind, Kind::NotHeads { block: Block::Fuse }));
    let error = "BatchSplit(a, Stack(b, c), batch_sizes=1)".parse::<HeadSetup>().unwrap_err();
    assert!(matches!(error.problems()[0].kind, Kind::HeadExpected { block: Block::Stack }));
    assert_eq!(&error.text()[error.problems()[0].span.clone()], "Stack");
    assert!("[a, b".parse::<HeadSetup>().is_err() && "[a] b".parse::<HeadSetup>().is_err());
    assert!("True".parse::<HeadSetup>().is_ok_and(|heads| heads == HeadSetup::Unnamed));
    let heads: HeadSetup = "BatchSplit(a, b, batch_sizes=[1, 3])".parse().unwrap();
    assert!(heads.validate_for_batch(4).is_ok() && heads.validate_for_batch(5).is_err());
    assert!(HeadSetup::Several(Vec::new()).validate().is_err());
}

#[test]
fn json_errors_name_the_place() {
    let value =
        json!({"type": "Stack", "children": [{"type": "single", "children": ["a"]}, {"type": "Splt", "children": []}]});
    let error = Composition::from_json_value(&value).unwrap_err();
    assert_eq!(error.to_string(), "composition.children[1]: unknown block `Splt` (did you mean `Split`?)");
    let value = json!({"type": "Split", "children": [], "kwargs": {"splits": [1, -1]}});
    let error = Composition::from_json_value(&value).unwrap_err();
    assert_eq!(
        error.to_string(),
        "composition.kwargs.splits[1]: expected a whole number or a list of them, found the number -1"
    );
    let value = json!({"type": "Stack", "children": [], "kwargs": {"splits": [1]}});
    assert!(matches!(Composition::from_json_value(&value), Err(JsonError::UnknownArgument { .. })));
    assert!(matches!(Composition::from_json_str("{"), Err(JsonError::NotJson { line: 1, .. })));
    assert!(Composition::from_json_value(&json!("a")).is_err());

    let deep = (0..100)
        .fold(json!({"type": "single", "children": ["a"]}), |inner, _| json!({"type": "Stack", "children": [inner]}));
    assert!(matches!(Composition::from_json_value(&deep), Err(JsonError::TooDeep { limit: 32, .. })));
}

// Compositions that are too large, and duplicate keys, are rejected at once, without allocating memory for them.

const MANY: usize = 1_000_000;

fn quick<T>(work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    result
}

#[test]
fn a_million_children_are_refused_as_text_as_a_value_and_as_json() {
    let text = format!("Stack({})", "a,".repeat(MANY));
    let error = quick(|| text.parse::<Composition>()).unwrap_err();
    assert!(matches!(error.problems(), [one] if matches!(one.kind, ProblemKind::TooMany { .. })), "{error}");
    let error = quick(|| Composition::stack(vec!["a"; MANY]).validate()).unwrap_err();
    assert!(matches!(error.problems()[0].kind, ProblemKind::TooMany { .. }), "{error}");

    let child = r#"{"type":"single","children":["a"]}"#;
    let json = format!(r#"{{"type":"Stack","children":[{}{child}]}}"#, format!("{child},").repeat(100_000));
    let error = quick(|| Composition::from_json_str(&json)).unwrap_err();
    assert!(matches!(error, JsonError::TooMany { .. }), "{error}");
    let setup = format!(r#"{{"adapter_setup":{json},"head_setup":null}}"#);
    assert!(matches!(AdapterSetup::from_json_str(&setup).unwrap_err(), JsonError::TooMany { .. }));
    let heads = serde_json::json!(vec!["a"; 100_000]);
    assert!(matches!(HeadSetup::from_json_value(&heads).unwrap_err(), JsonError::TooMany { .. }));
}

#[test]
fn a_text_that_is_too_long_is_refused_and_not_repeated() {
    let text = "a".repeat(100 << 20);
    let error = quick(|| text.parse::<Composition>()).unwrap_err();
    assert!(matches!(error.problems()[0].kind, ProblemKind::TooLong { .. }), "{}", error.problems()[0].message());
    assert!(error.to_string().len() < 1000 && error.text().len() < text.len());
    assert!(text.parse::<HeadSetup>().is_err());
}

#[test]
fn what_is_large_and_sensible_is_read_in_linear_time() {
    let names: Vec<String> = (0..20_000).map(|index| format!("adapter-{index}")).collect();
    let composition = Composition::parallel(names);
    let read: Composition = quick(|| composition.to_string().parse()).unwrap();
    assert_eq!(read, composition);
    quick(|| composition.validate()).unwrap();
    assert_eq!(Composition::from_json_value(&composition.to_json_value()).unwrap(), composition);
    let rows = composition.names().into_iter().map(|name| Some(name.to_owned())).cycle().take(MANY).collect::<Vec<_>>();
    let route = quick(|| Composition::open_route().with_rows(&rows));
    quick(|| route.validate_for_batch(MANY, None)).unwrap();
}

#[test]
fn a_key_that_stands_twice_is_refused_at_any_depth() {
    for text in [
        r#"{"type": "Stack", "children": [], "type": "Parallel"}"#,
        r#"{"type": "Average", "children": [{"type": "single", "children": ["a"]}], "kwargs": {"weights": [1], "weights": [2]}}"#,
    ] {
        let error = Composition::from_json_str(text).unwrap_err();
        assert!(error.to_string().contains("appears twice"), "{error}");
        assert!(serde_json::from_str::<Composition>(text).is_err());
        let setup = format!(r#"{{"adapter_setup": {text}}}"#);
        assert!(AdapterSetup::from_json_str(&setup).unwrap_err().to_string().contains("appears twice"));
    }
}
