//! Properties of all compositions and all texts.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use burn_adapters_composition::{AdapterSetup, Composition, CompositionError, HeadSetup, Route};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-d]",
        1 => any::<String>(),
        1 => "[a-z'\"\\\\=,()\\[\\]\n ./@+-]{0,12}",
        1 => proptest::sample::select(vec!["Stack", "none", "None", "True", "False", "Route", "MultiTask", "1", "-1.5", "splits"])
            .prop_map(str::to_owned),
    ]
}

fn weight() -> impl Strategy<Value = f64> {
    prop_oneof![-10.0..10.0, Just(0.0), Just(-0.0), Just(1e300), Just(f64::MIN_POSITIVE), Just(3.0), Just(0.1 + 0.2)]
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![0usize..5, Just(64), any::<usize>()]
}

fn rows() -> impl Strategy<Value = Vec<Option<String>>> {
    vec(option::of(name()), 0..8)
}

/// Any composition, valid or not, with finite weights.
fn composition() -> impl Strategy<Value = Composition> {
    let leaf = prop_oneof![4 => name().prop_map(Composition::Adapter), 1 => rows().prop_map(Composition::route)];
    leaf.prop_recursive(5, 40, 4, |inner| {
        let children = || vec(inner.clone(), 0..4);
        prop_oneof![
            children().prop_map(Composition::Stack),
            children().prop_map(Composition::Parallel),
            (children(), option::of(name())).prop_map(|(children, name)| Composition::Fuse { children, name }),
            (children(), vec(size(), 0..4)).prop_map(|(children, splits)| Composition::Split { children, splits }),
            (children(), size()).prop_map(|(children, size)| Composition::split(children, size)),
            (children(), vec(size(), 0..4))
                .prop_map(|(children, batch_sizes)| Composition::BatchSplit { children, batch_sizes }),
            (children(), option::of(vec(weight(), 0..4)), any::<bool>()).prop_map(
                |(children, weights, normalize_weights)| Composition::Average { children, weights, normalize_weights }
            ),
        ]
    })
}

fn heads() -> impl Strategy<Value = HeadSetup> {
    prop_oneof![
        Just(HeadSetup::Unnamed),
        name().prop_map(HeadSetup::One),
        vec(name(), 0..4).prop_map(HeadSetup::Several),
        (vec(name(), 0..4), vec(size(), 0..4))
            .prop_map(|(heads, batch_sizes)| HeadSetup::BatchSplit { heads, batch_sizes }),
        rows().prop_map(|rows| HeadSetup::Route(Route::new(rows))),
    ]
}

/// Equality, except that weights may differ by a factor.
fn assert_alike(a: &Composition, b: &Composition) {
    if let (Some(ours), Some(theirs)) = (a.average_weights(), b.average_weights()) {
        assert_eq!(ours.len(), theirs.len());
        let scale = theirs.iter().fold(1.0, |most: f64, weight| most.max(weight.abs()));
        let close = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-9 * scale * scale || !b.is_finite();
        assert!(ours.iter().zip(&theirs).all(close), "{a} is not {b}");
    } else if b.children().is_empty() {
        assert_eq!(a, b);
    }
    assert_eq!(a.block(), b.block());
    assert_eq!(a.children().len(), b.children().len());
    a.children().iter().zip(b.children()).for_each(|(a, b)| assert_alike(a, b));
    let bare = |composition: &Composition| match composition.clone() {
        Composition::Fuse { name, .. } => (name, Vec::new()),
        Composition::Split { splits, .. } => (None, splits),
        Composition::BatchSplit { batch_sizes, .. } => (None, batch_sizes),
        _ => (None, Vec::new()),
    };
    assert_eq!(bare(a), bare(b));
}

/// The spans of problems lie in the text, on character boundaries, and every problem can be printed.
fn assert_sound(error: &CompositionError, text: &str) {
    assert_eq!(error.text(), text);
    assert!((1..=20).contains(&error.problems().len()), "{error}");
    for problem in error.problems() {
        assert!(error.text().get(problem.span.clone()).is_some(), "{:?} in {text:?}", problem.span);
        assert!(!problem.message().is_empty() && !problem.label().is_empty());
        assert!(problem.message().len() < 500, "{}", problem.message());
        let _ = (problem.help(), problem.place());
    }
    assert!(!error.to_string().is_empty());
}

fn read_anything(text: &str) {
    match text.parse::<Composition>() {
        Ok(composition) => {
            assert_eq!(composition.to_string().parse(), Ok(composition.clone()), "{text:?}");
            let _ = composition.validate_for_batch(4, Some(8));
            if let Err(error) = Composition::parse(text) {
                assert_sound(&error, text);
            }
        }
        Err(error) => assert_sound(&error, text),
    }
    match text.parse::<HeadSetup>() {
        Ok(heads) => assert_eq!(heads.to_string().parse(), Ok(heads), "{text:?}"),
        Err(error) => assert_sound(&error, text),
    }
    let _ = AdapterSetup::from_json_str(text);
}

proptest! {
    #[test]
    fn what_is_written_is_read_as_the_same(composition in composition()) {
        prop_assert_eq!(composition.to_string().parse(), Ok(composition));
    }

    #[test]
    fn heads_that_are_written_are_read_as_the_same(heads in heads()) {
        prop_assert_eq!(heads.to_string().parse(), Ok(heads.clone()));
        prop_assert_eq!(HeadSetup::from_json_value(&heads.to_json_value()), Ok(heads));
    }

    #[test]
    fn no_text_is_shorter_by_leaving_out_quotes_or_arguments(name in name()) {
        let text = Composition::adapter(name.clone()).to_string();
        let bare = name.parse::<Composition>() == Ok(Composition::adapter(name.clone()));
        prop_assert_eq!(text == name, bare && name.trim() == name);
    }

    #[test]
    fn spaces_and_a_last_comma_change_nothing(composition in composition()) {
        let mut text = composition.to_string();
        if !composition.children().is_empty() {
            text.insert_str(text.len() - 1, " , ");
        }
        prop_assert_eq!(format!("\n\t {text} ").parse(), Ok(composition));
    }

    #[test]
    fn json_keeps_all_but_the_scale_of_weights(composition in composition()) {
        let read = Composition::from_json_value(&composition.to_json_value());
        if composition.validate().is_err() && read.is_err() {
            // Weights that sum to 0 become NaN or infinite.
            return Ok(());
        }
        let read = read.unwrap();
        match &composition {
            Composition::Adapter(name) => prop_assert_eq!(read, Composition::stack([name])),
            _ => assert_alike(&read, &composition),
        }
    }

    #[test]
    fn a_problem_of_a_value_points_into_its_text(composition in composition()) {
        let text = composition.to_string();
        let by_value = composition.validate();
        let by_text = Composition::parse(&text).map(|_| ());
        prop_assert_eq!(&by_value, &by_text);
        if let Err(error) = by_value {
            assert_sound(&error, &text);
        }
    }

    #[test]
    fn rows_are_restored_after_they_were_gathered(rows in vec(option::of("[a-e]"), 0..200)) {
        let route = Route::new(rows.clone());
        let gathered: Vec<_> = route.gather_order().into_iter().map(|row| rows[row].clone()).collect();
        let restored: Vec<_> = route.restore_order().into_iter().map(|place| gathered[place].clone()).collect();
        prop_assert_eq!(&restored, &rows);
        let mut seen = Vec::new();
        for (name, group) in route.groups() {
            prop_assert!(group.iter().all(|row| rows[*row].as_deref() == name));
            prop_assert!(group.is_sorted() && !group.is_empty());
            seen.push(name);
        }
        let distinct: std::collections::HashSet<_> = seen.iter().collect();
        prop_assert_eq!(distinct.len(), seen.len());
        prop_assert_eq!(gathered.len(), rows.len());
    }

    #[test]
    fn words_in_any_order_are_read_or_refused(words in vec(proptest::sample::select(vec![
        "Stack", "Fuse", "Split", "Average", "Route", "(", ")", "[", "]", ",", "=", "a", "b", "splits", "weights",
        "name", "1", "0.5", "none", "'", "\"", "\\", " ", "\u{e9}", "[a", "Split(a, splits=", "Route([",
    ]), 0..40)) {
        read_anything(&words.concat());
    }

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        read_anything(&text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn long_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..65_536)) {
        read_anything(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn long_repetitions_are_read_or_refused(word in "[a-z,()\\[\\]'\"=\\\\ ]{1,9}", head in "(Stack\\()?") {
        let text: String = format!("{head}{}", word.repeat(65_536 / word.len()));
        read_anything(&text);
    }
}

#[test]
fn brackets_without_end_are_no_danger() {
    for opener in ["Stack(", "Fuse(Stack(", "(", "[", "Route([", "Stack(a, ", "'\\", "Split(a, splits=["] {
        read_anything(&opener.repeat(65_536 / opener.len()));
    }
    let closed = format!("{}a{}", "Stack(".repeat(10_000), ")".repeat(10_000));
    read_anything(&closed);
}
