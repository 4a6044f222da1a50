//! All errors of configurations, and how they are reported.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::{Duration, Instant};

use burn_adapters_config::{
    AdapterConfig, BottleneckConfig, ConfigError, LoraConfig, MethodConfig, PrefixTuningConfig, ProblemKind,
    ProblemKind as Kind,
};

fn error(text: &str) -> ConfigError {
    match text.parse::<AdapterConfig>() {
        Ok(config) => panic!("{text} was read as {config}"),
        Err(error) => error,
    }
}

/// The text under the caret, the message, and the label of the only problem.
fn only(text: &str) -> (String, String, String) {
    let error = error(text);
    let [problem] = error.problems() else {
        panic!("{text} has {} problems: {error}", error.problems().len());
    };
    (error.text()[problem.span.clone()].to_owned(), problem.message(), problem.label())
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
fn an_unknown_key_points_at_itself_and_at_the_one_that_was_meant() {
    let (under, message, label) = only("seq_bn[reduction_facto=8]");
    assert_eq!(under, "reduction_facto");
    assert_eq!(message, "unknown key `reduction_facto` for `seq_bn`");
    assert_eq!(label, "did you mean `reduction_factor`?");
}

#[test]
fn a_key_of_another_method_says_whose_it_is() {
    let (_, _, label) = only("lora[reduction_factor=8]");
    assert_eq!(label, "this is a key of `seq_bn`");
    let help = error("lora[bananas=1]").problems()[0].help().unwrap();
    assert!(help.contains("attn_matrices"), "{help}");
}

#[test]
fn an_unknown_method_is_told_with_the_nearest_one() {
    problem!("lroa[r=4]", "lroa", Kind::UnknownIdentifier { nearest: Some(near), .. } if near == "lora");
    problem!("LoRA", "LoRA", Kind::UnknownIdentifier { nearest: Some(near), .. } if near == "lora");
    problem!("pfiefer", "pfiefer", Kind::UnknownIdentifier { nearest: Some(near), .. } if near == "seq_bn");
    problem!("seq_bn|bananas", "bananas", Kind::UnknownIdentifier { nearest: None, .. });
}

#[test]
fn several_problems_are_told_at_once_in_the_order_of_the_text() {
    let error = error("lora[r=0,dropout=-1,alhpa=2]|seqbn[reduction_factor=0]|par_bn[reduction_factor='a']");
    let told: Vec<_> = error.problems().iter().map(|problem| &error.text()[problem.span.clone()]).collect();
    assert_eq!(told, ["0", "-1", "alhpa", "seqbn", "'a'"]);
}

#[test]
fn after_a_syntax_error_reading_goes_on() {
    let error = error("lora[r=,alpha=x,dropout=2]|seq_bn reduction_factor|lorra");
    let told: Vec<_> = error.problems().iter().map(|problem| &error.text()[problem.span.clone()]).collect();
    assert_eq!(told, [",", "x", "2", "reduction_factor", "lorra"]);
}

#[test]
fn nothing_is_an_error() {
    problem!("", "", Kind::Empty);
    problem!("  \n", "  \n", Kind::Empty);
    problem!("seq_bn|", "", Kind::Expected { .. });
    problem!("|seq_bn", "|", Kind::Expected { .. });
    problem!("seq_bn||lora", "|", Kind::Expected { .. });
    problem!("[r=2]", "[", Kind::Expected { .. });
}

#[test]
fn brackets_and_quotes_must_close() {
    problem!("lora[r=4", "[", Kind::Unclosed { opener } if opener == "[");
    problem!("lora[attn_matrices=['q','k'", "[", Kind::Unclosed { .. });
    problem!("lora[r=4|seq_bn", "[", Kind::Unclosed { .. });
    problem!("lora[attn_matrices=['q,k]]", "'", Kind::Unclosed { opener } if opener == "'");
    problem!("lora[attn_matrices=['q,'k']]", "k", Kind::Expected { .. });
    problem!("seq_bn[reduction_factor={'0': 2", "{", Kind::Unclosed { opener } if opener == "{");
    problem!("lora[dtype='''float32']", "'", Kind::Unclosed { opener } if opener == "'''");
}

#[test]
fn text_after_the_end_is_an_error() {
    problem!("seq_bn[reduction_factor=8]junk", "junk", Kind::TrailingText { .. });
    problem!("seq_bn]", "]", Kind::TrailingText { .. });
    problem!("lora[r=4][alpha=3] | seq_bn", "[alpha=3]", Kind::TrailingText { .. });
    problem!("lora[r=3-1]", "-", Kind::Expected { .. });
}

#[test]
fn values_must_be_of_their_type() {
    problem!("lora[r='8']", "'8'", Kind::WrongType { .. });
    problem!("lora[r=True]", "True", Kind::WrongType { .. });
    problem!("lora[r=8.0]", "8.0", Kind::WrongType { .. });
    problem!("lora[dropout=False]", "False", Kind::WrongType { .. });
    problem!("seq_bn[use_gating=1]", "1", Kind::WrongType { .. });
    problem!("seq_bn[leave_out=3]", "3", Kind::WrongType { .. });
    problem!("seq_bn[leave_out=[0,'1']]", "'1'", Kind::WrongType { .. });
    problem!("seq_bn[non_linearity=None]", "None", Kind::WrongType { .. });
    problem!("seq_bn[reduction_factor=[2,3]]", "[2,3]", Kind::WrongType { .. });
    problem!("seq_bn[reduction_factor={'0': 'x'}]", "'x'", Kind::WrongType { .. });
    problem!("lora[attn_matrices='q']", "'q'", Kind::WrongType { .. });
    problem!("lora[architecture='reft']", "'reft'", Kind::WrongType { .. });
}

#[test]
fn words_without_quotes_are_understood_but_not_taken() {
    assert_eq!(only("lora[init_weights=bert]").2, "did you mean the string `'bert'`?");
    assert_eq!(only("seq_bn[use_gating=TRUE]").2, "did you mean `True`?");
    assert_eq!(only("lora[dtype=none]").2, "did you mean `None`?");
    problem!("seq_bn[dropout=nan]", "nan", Kind::Unquoted { .. });
}

#[test]
fn numbers_must_be_in_range() {
    for text in [
        "lora[r=0]",
        "lora[r=-4]",
        "lora[r=99999999999999999999999]",
        "lora[dropout=-0.1]",
        "lora[dropout=1.0]",
        "lora[alpha=1e999]",
        "seq_bn[reduction_factor=0]",
        "seq_bn[reduction_factor=-2]",
        "seq_bn[reduction_factor=1e999]",
        "seq_bn[reduction_factor={'0': 0, 'default': 16}]",
        "seq_bn[reduction_factor={}]",
        "seq_bn[scaling=1e999]",
        "seq_bn[leave_out=[-1]]",
        "seq_bn[stochastic_depth=1]",
        "seq_bn[init_weights_seed=-1]",
        "seq_bn_inv[inv_adapter_reduction_factor=0]",
        "compacter[phm_dim=0]",
        "compacter[phm_rank=0]",
        "compacter[phm_init_range=-1]",
        "prefix_tuning[prefix_length=0]",
        "prefix_tuning[bottleneck_size=0]",
        "prompt_tuning[prompt_length=0]",
        "prompt_tuning[random_uniform_scale=-1]",
        "loreft[r=0]",
        "loreft[dropout=1]",
        "loreft[layers=[-1]]",
        "mtl_lora[n_up_projection=0]",
        "mtl_lora[weights_sharpness=0]",
        "vera[vera_d=1e999]",
    ] {
        let error = error(text);
        assert_eq!(error.problems().len(), 1, "{text}: {error}");
        assert!(matches!(error.problems()[0].kind, Kind::OutOfRange { .. }), "{text}: {error}");
        assert!(!error.problems()[0].span.is_empty(), "{text}");
    }
}

#[test]
fn names_must_be_known() {
    problem!("seq_bn[non_linearity='rleu']", "'rleu'", Kind::UnknownValue { nearest: Some(near), .. } if near == "relu");
    problem!("seq_bn[init_weights='kaiming']", "'kaiming'", Kind::UnknownValue { allowed, .. } if allowed.len() == 3);
    problem!("seq_bn[scaling='leaned']", "'leaned'", Kind::UnknownValue { nearest: Some(near), .. } if near == "learned");
    problem!("seq_bn[residual_before_ln='post']", "'post'", Kind::UnknownValue { .. });
    problem!("seq_bn[reduction_factor={'defualt': 2}]", "'defualt'", Kind::UnknownValue { nearest: Some(_), .. });
    problem!("seq_bn_inv[inv_adapter='real_nvp']", "'real_nvp'", Kind::UnknownValue { .. });
    problem!("lora[composition_mode='multiply']", "'multiply'", Kind::UnknownValue { .. });
    problem!("lora[dtype='int8']", "'int8'", Kind::UnknownValue { .. });
    problem!("loreft[layers='some']", "'some'", Kind::UnknownValue { .. });
    problem!("prompt_tuning[combine='suffix']", "'suffix'", Kind::UnknownValue { .. });
    let (_, message, _) = only("prompt_tuning[combine='suffix']");
    assert_eq!(message, "unknown value 'suffix' for `combine`");
    assert_eq!(
        error("prompt_tuning[combine='suffix']").problems()[0].help().unwrap(),
        "allowed: `prefix` or `prefix_after_bos`"
    );
}

#[test]
fn nothing_is_given_twice() {
    problem!("lora[r=4,r=5]", "r", Kind::DuplicateKey { key } if key == "r");
    problem!("seq_bn[leave_out=[0,1,0]]", "0", Kind::DuplicateItem { item, .. } if item == "0");
    problem!("lora[attn_matrices=['q','q']]", "'q'", Kind::DuplicateItem { item, .. } if item == "q");
    problem!("loreft[layers=[2,2]]", "2", Kind::DuplicateItem { .. });
    problem!("seq_bn[reduction_factor={0: 2, '0': 4}]", "'0'", Kind::DuplicateKey { .. });
}

#[test]
fn attributes_must_go_together() {
    for (text, under) in [
        ("ia3[r=2]", "2"),
        ("ia3[dropout=0.1]", "0.1"),
        ("ia3[use_dora=True]", "True"),
        ("ia3[init_weights='vera']", "'vera'"),
        ("dora[composition_mode='scale',r=1]", "dora"),
        ("lora[vera_d=0.1]", "0.1"),
        ("vera[bias='update']", "'update'"),
        ("dora[bias='base']", "'base'"),
        ("mtl_lora[use_dora=True]", "True"),
        ("mtl_lora[composition_mode='scale',r=1]", "'scale'"),
        ("par_bn[is_parallel=False,residual_before_ln='post_add']", "'post_add'"),
        ("seq_bn[inv_adapter='nice']", "'nice'"),
        ("prompt_tuning[prompt_init='from_string']", "'from_string'"),
    ] {
        problem!(text, under, Kind::Combination { .. });
    }
    assert!("par_bn[residual_before_ln='post_add']".parse::<AdapterConfig>().is_ok());
    assert!("seq_bn[residual_before_ln='post_add']".parse::<AdapterConfig>().is_ok());
}

#[test]
fn what_would_train_nothing_is_an_error() {
    problem!("seq_bn[output_adapter=False]", "False", Kind::TrainsNothing { .. });
    problem!("lora[selfattn_lora=False]", "False", Kind::TrainsNothing { .. });
    problem!("lora[attn_matrices=[]]", "[]", Kind::TrainsNothing { .. });
    problem!("loreft[layers=[]]", "[]", Kind::TrainsNothing { .. });
    problem!("loreft[prefix_positions=0]", "0", Kind::TrainsNothing { .. });
    problem!("loreft[output_reft=False]", "False", Kind::TrainsNothing { .. });
}

#[test]
fn unions_follow_the_rules_of_the_reference() {
    problem!("seq_bn|par_bn", "par_bn", Kind::Clash { .. });
    problem!("lora|ia3[r=1]", "ia3[r=1]", Kind::Clash { .. });
    problem!("lora|mtl_lora", "mtl_lora", Kind::Clash { .. });
    problem!(
        "double_seq_bn|seq_bn[mh_adapter=True,output_adapter=False]",
        "seq_bn[mh_adapter=True,output_adapter=False]",
        Kind::Clash { .. }
    );
    problem!("prefix_tuning|prefix_tuning_flat", "prefix_tuning_flat", Kind::Clash { .. });
    // The reference reports these two only in the middle of a forward pass.
    problem!(
        "prefix_tuning[leave_out=[0]]|prefix_tuning[leave_out=[1]]",
        "prefix_tuning[leave_out=[1]]",
        Kind::Clash { .. }
    );
    problem!("seq_bn_inv[leave_out=[0]]|seq_bn_inv[leave_out=[1]]", "seq_bn_inv[leave_out=[1]]", Kind::Clash { .. });
    problem!("loreft[layers=[0]]|loreft[layers=[1]]", "loreft[layers=[1]]", Kind::Clash { .. });
    problem!("prompt_tuning|prompt_tuning", "prompt_tuning", Kind::Clash { .. });
    for fine in [
        "seq_bn[mh_adapter=True,output_adapter=False]|par_bn",
        "seq_bn[leave_out=[0]]|par_bn[leave_out=[1]]",
        "lora[leave_out=[0]]|ia3",
        "lora|seq_bn|prefix_tuning|prompt_tuning|loreft",
        "lora|mtl_lora[selfattn_lora=False,output_lora=True]",
    ] {
        assert!(fine.parse::<AdapterConfig>().is_ok(), "{fine}");
    }
}

#[test]
fn a_union_in_a_union_says_how_to_write_it() {
    let (under, _, label) = only("mam|lora");
    assert_eq!((under.as_str(), label.as_str()), ("mam", "write `prefix_tuning[bottleneck_size=800]|par_bn`"));
}

#[test]
fn an_attribute_of_a_named_union_is_set_in_all_its_methods() {
    let config: AdapterConfig = "unipelt[use_gating=False,dropout=0.1]".parse().unwrap();
    assert!(config.methods().iter().all(|method| method.to_json_value()["dropout"] == 0.1));
    assert_eq!(config.to_string(), "unipelt[dropout=0.1,use_gating=False]");
    let (under, message, label) = only("mam[reduction_factor=8]");
    assert_eq!(under, "reduction_factor");
    assert_eq!(message, "`reduction_factor` applies to every method of `mam`, but not all of them have it");
    assert_eq!(label, "write `prefix_tuning[bottleneck_size=800]|par_bn[reduction_factor=8]`");
    problem!("mam[dropuot=0.1]", "dropuot", Kind::UnknownKey { nearest: Some(_), .. });
    problem!("mam[dropout=2]", "2", Kind::OutOfRange { .. });
}

#[test]
fn a_union_made_in_rust_is_checked_too() {
    let clash = AdapterConfig::union([LoraConfig::lora(), LoraConfig::ia3()]).unwrap_err();
    assert_eq!(clash.text(), "lora|ia3");
    assert!(matches!(clash.problems()[0].kind, Kind::Clash { .. }));
    let none = AdapterConfig::union(Vec::<MethodConfig>::new()).unwrap_err();
    assert!(matches!(none.problems()[0].kind, Kind::Empty));
    let wrong = AdapterConfig::union([
        MethodConfig::from(BottleneckConfig::seq_bn().with_dropout(f64::NAN).with_reduction_factor(f64::INFINITY)),
        PrefixTuningConfig::prefix_tuning().with_prefix_length(0).into(),
        LoraConfig::lora().with_dtype("int8").into(),
    ])
    .unwrap_err();
    assert_eq!(wrong.problems().len(), 4, "{wrong}");
}

#[test]
fn the_number_of_layers_decides_what_the_text_cannot() {
    let check = |text: &str, layers| text.parse::<AdapterConfig>().unwrap().check_layers(layers);
    let kind = |text: &str, layers| check(text, layers).unwrap_err().problems()[0].kind.clone();
    assert!(check("seq_bn[leave_out=[0,1]]|par_bn[leave_out=[2,3]]", 4).is_ok());
    let conflict = kind("seq_bn[leave_out=[0,1]]|par_bn[leave_out=[2,3]]", 6);
    assert!(matches!(conflict, Kind::SiteConflict { layer: 4, .. }));
    assert!(matches!(kind("lora[leave_out=[0]]|ia3[leave_out=[1]]", 3), Kind::SiteConflict { layer: 2, .. }));
    assert!(check("lora[leave_out=[0]]|lora[selfattn_lora=False,output_lora=True]", 3).is_ok());
    assert!(matches!(kind("seq_bn[leave_out=[0,1]]", 2), Kind::EveryLayerLeftOut { .. }));
    assert!(check("seq_bn_inv[leave_out=[0,1]]", 2).is_ok());
    assert!(matches!(kind("lora[leave_out=[7]]", 2), Kind::NoSuchLayer { layer: 7, layers: 2, .. }));
    assert!(matches!(kind("loreft[layers=[0,2]]", 2), Kind::NoSuchLayer { layer: 2, .. }));
    assert!(check("prompt_tuning|seq_bn", 2).is_ok());
    assert!(matches!(kind("seq_bn[reduction_factor={'0': 2}]", 2), Kind::NoReductionFactor { layer: 1 }));
    assert!(check("seq_bn[reduction_factor={'0': 2},leave_out=[1]]", 2).is_ok());
    let error = check("prefix_tuning|lora[leave_out=[7]]", 2).unwrap_err();
    assert_eq!(&error.text()[error.problems()[0].span.clone()], "[7]");
}

#[test]
fn escapes_must_mean_something() {
    problem!("prompt_tuning[prompt_init_text='\\x4']", "\\x4'", Kind::BadEscape { .. });
    problem!("prompt_tuning[prompt_init_text='\\ud800']", "\\ud800", Kind::BadEscape { .. });
    problem!("prompt_tuning[prompt_init_text='\\N{DASH}']", "\\N", Kind::BadEscape { .. });
    problem!("lora[r=0x]", "0x", Kind::BadNumber { .. });
    problem!("lora[r=1__0]", "1__0", Kind::BadNumber { .. });
    problem!("lora[dropout=.]", ".", Kind::BadNumber { .. });
}

#[test]
fn deep_brackets_are_an_error_and_not_a_crash() {
    for open in ["[", "(", "{'a':"] {
        let text = format!("lora[attn_matrices={}", open.repeat(64 * 1024 / open.len()));
        assert!(matches!(error(&text).problems()[0].kind, Kind::TooDeep { .. }), "{open}");
    }
}

#[test]
fn long_nonsense_is_cut_short() {
    for text in ["a,".repeat(32_000), "x=1,".repeat(16_000), "'".repeat(65_000), "|".repeat(65_000), "a".repeat(65_000)]
    {
        for text in [format!("lora[{text}"), text] {
            let error = error(&text);
            assert!(error.problems().len() <= 25, "{}", error.problems().len());
            assert!(error.to_string().len() < 20_000, "{}", error.to_string().len());
        }
    }
}

// Configurations that are too large, and duplicate keys.

fn quick<T>(work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    result
}

#[test]
fn a_text_that_is_too_long_is_refused_and_not_repeated() {
    for text in ["lora|".repeat(10 << 20), " ".repeat(2 << 20), format!("lora[r={}]", "9".repeat(2 << 20))] {
        for error in [text.parse::<AdapterConfig>().unwrap_err(), AdapterConfig::from_json_str(&text).unwrap_err()] {
            assert!(matches!(error.problems()[0].kind, ProblemKind::TooLong { .. }));
            assert!(error.text().len() <= 80 && error.to_string().len() < 1000);
        }
    }
}

#[test]
fn a_union_of_very_many_methods_is_refused_at_once() {
    let text = vec!["lora"; 100_000].join("|");
    let error = quick(|| text.parse::<AdapterConfig>()).unwrap_err();
    assert!(
        error.problems().iter().any(|problem| matches!(problem.kind, ProblemKind::TooManyMethods { .. })),
        "{error}"
    );
    let json = format!(r#"{{"architecture": "union", "configs": [{}"lora"]}}"#, r#""lora","#.repeat(50_000));
    let error = quick(|| AdapterConfig::from_json_str(&json)).unwrap_err();
    assert!(
        error.problems().iter().any(|problem| matches!(problem.kind, ProblemKind::TooManyMethods { .. })),
        "{error}"
    );
}

#[test]
fn long_lists_and_maps_are_read_in_linear_time() {
    let list = (0..100_000).map(|layer| layer.to_string()).collect::<Vec<_>>().join(",");
    quick(|| format!("lora[leave_out=[{list}]]").parse::<AdapterConfig>()).unwrap();
    let map = (0..50_000).map(|layer| format!("'{layer}': 2")).collect::<Vec<_>>().join(",");
    let text = format!("seq_bn[reduction_factor={{{map}, 'default': 4}}]");
    quick(|| text.parse::<AdapterConfig>()).unwrap();
    let keys = (0..50_000).map(|key| format!("k{key}=1")).collect::<Vec<_>>().join(",");
    quick(|| format!("lora[{keys}]").parse::<AdapterConfig>()).unwrap_err();
}

#[test]
fn a_key_that_stands_twice_is_pointed_at_wherever_it_stands() {
    let twice = |text: &str, error: burn_adapters_config::ConfigError, key: &str| {
        let problem = &error.problems()[0];
        assert!(matches!(&problem.kind, ProblemKind::DuplicateKey { key: found } if found == key), "{text}: {error}");
        assert!(error.text()[problem.span.clone()].contains(key), "{text}: {:?}", problem.span);
        assert!(problem.span.start > text.find(key).unwrap(), "{text}: the second is pointed at");
    };
    let strings = ["lora[r=8,r=4]", "seq_bn[reduction_factor={'1': 2, '1': 4, 'default': 8}]"];
    for (text, key) in strings.into_iter().zip(["r", "1"]) {
        twice(text, text.parse::<AdapterConfig>().unwrap_err(), key);
    }
    let files = [
        (r#"{"architecture": "lora", "alpha": 4, "alpha": 8}"#, "alpha"),
        (r#"{"config": {"architecture": "lora"}, "config": {"architecture": "lora", "r": 4}}"#, "config"),
        (r#"{"name": "a", "config": {"architecture": "lora"}, "name": "b"}"#, "name"),
        (r#"{"architecture": "union", "configs": [{"architecture": "lora", "r": 2, "r": 4}]}"#, "\"r\""),
        (r#"{"architecture": "union", "configs": ["lora"], "configs": ["ia3"]}"#, "configs"),
    ];
    for (text, key) in files {
        let error = AdapterConfig::from_json_str(text).unwrap_err();
        twice(text, error, key.trim_matches('"'));
        assert!(serde_json::from_str::<AdapterConfig>(text).is_err(), "{text}");
    }
}
