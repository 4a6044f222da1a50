//! Properties of all configurations and all texts.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use burn_adapters_config::{
    Activation, AdapterConfig, BottleneckConfig, BottleneckInit, CompositionMode, HypercomplexInit, InvertibleKind,
    LoraBias, LoraConfig, LoraInit, MethodConfig, MtlLora, PhmRuleInit, PrefixTuningConfig, PromptCombine, PromptInit,
    PromptTuningConfig, ReductionFactor, ReftConfig, ReftLayers, ResidualBeforeLn, Scaling, TaskMatrix, identifiers,
};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

fn positive() -> impl Strategy<Value = f64> {
    prop_oneof![(1u32..100).prop_map(f64::from), 1e-12..1e30, Just(1e16), Just(f64::MIN_POSITIVE), Just(f64::MAX)]
}

fn probability() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), Just(0.1), 0.0..1.0]
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![positive(), positive().prop_map(|x| -x), Just(0.0)]
}

fn layers() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![Just(Vec::new()), btree_set(0usize..100, 0..5).prop_map(|set| set.into_iter().rev().collect())]
}

fn seed() -> impl Strategy<Value = Option<u64>> {
    option::of(prop_oneof![0u64..100, any::<u64>()])
}

fn dtype() -> impl Strategy<Value = Option<String>> {
    option::of(select(burn_adapters_config::DTYPES).prop_map(str::to_owned))
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[a-z'\"\\\\=|\\[\\]\n{},: ]{0,20}"]
}

fn reduction_factor() -> impl Strategy<Value = ReductionFactor> {
    prop_oneof![
        positive().prop_map(ReductionFactor::Uniform),
        (btree_map(0usize..30, positive(), 0..4), positive())
            .prop_map(|(layers, default)| ReductionFactor::PerLayer { layers, default: Some(default) }),
        btree_map(any::<usize>(), positive(), 1..4)
            .prop_map(|layers| ReductionFactor::PerLayer { layers, default: None }),
    ]
}

/// Starts from an entry of the registry or from nothing known, so that few and many attributes differ.
fn bottleneck() -> BoxedStrategy<BottleneckConfig> {
    let base = select(vec![
        BottleneckConfig::seq_bn(),
        BottleneckConfig::double_seq_bn(),
        BottleneckConfig::scaled_par_bn(),
        BottleneckConfig::compacter(),
        BottleneckConfig::adapter_plus(),
        BottleneckConfig::seq_bn_inv(),
    ]);
    let placement = (any::<[bool; 12]>(), reduction_factor(), select(Activation::ALL), layers(), probability(), seed());
    let parts = (
        select(BottleneckInit::ALL),
        prop_oneof![number().prop_map(Scaling::Constant), Just(Scaling::Learned), Just(Scaling::Channel)],
        select(vec![ResidualBeforeLn::True, ResidualBeforeLn::False, ResidualBeforeLn::PostAdd]),
        option::of((select(InvertibleKind::ALL), positive())),
    );
    let phm = (
        any::<[bool; 6]>(),
        1usize..9,
        1usize..9,
        select(PhmRuleInit::ALL),
        select(HypercomplexInit::ALL),
        positive(),
        probability(),
    );
    (base, any::<[bool; 3]>(), placement, parts, phm)
        .prop_map(|(base, take, placement, parts, phm)| {
            let mut config = base;
            let (flags, factor, activation, leave_out, dropout, seed) = placement;
            let (init, scaling, residual, inverse) = parts;
            let (phm_flags, dim, rank, rule_init, hyper_init, range, depth) = phm;
            if take[0] {
                config = config.with_reduction_factor(factor).with_leave_out(leave_out).with_dropout(dropout);
            }
            if take[1] {
                config = config
                    .with_mh_adapter(flags[0] || !flags[1])
                    .with_output_adapter(flags[1])
                    .with_cross_adapter(flags[2])
                    .with_original_ln_before(flags[3] || residual == ResidualBeforeLn::PostAdd)
                    .with_original_ln_after(flags[4])
                    .with_ln_before(flags[5])
                    .with_ln_after(flags[6])
                    .with_is_parallel(flags[7])
                    .with_use_gating(flags[8])
                    .with_adapter_residual_before_ln(flags[9])
                    .with_non_linearity(activation)
                    .with_init_weights(init)
                    .with_init_weights_seed(seed)
                    .with_scaling(scaling)
                    .with_residual_before_ln(residual)
                    .with_inv_adapter(inverse.map(|(kind, _)| kind))
                    .with_inv_adapter_reduction_factor(inverse.map(|(_, factor)| factor));
            }
            if take[2] {
                config = config
                    .with_phm_layer(phm_flags[0])
                    .with_factorized_phm_w(phm_flags[1])
                    .with_shared_w_phm(phm_flags[2])
                    .with_shared_phm_rule(phm_flags[3])
                    .with_factorized_phm_rule(phm_flags[4])
                    .with_learn_phm(phm_flags[5])
                    .with_phm_bias(flags[10])
                    .with_phm_dim(dim)
                    .with_phm_rank(rank)
                    .with_phm_c_init(rule_init)
                    .with_hypercomplex_nonlinearity(hyper_init)
                    .with_phm_init_range(range)
                    .with_stochastic_depth(depth);
            }
            config
        })
        .boxed()
}

fn lora() -> BoxedStrategy<LoraConfig> {
    let base = select(vec![
        LoraConfig::lora(),
        LoraConfig::ia3(),
        LoraConfig::vera(),
        LoraConfig::dora(),
        LoraConfig::dvora(),
        LoraConfig::mtl_lora(),
    ]);
    let matrices = btree_set(prop_oneof![select(vec!["q", "k", "v", "o"]).prop_map(str::to_owned), text()], 1..4);
    let mtl = (1usize..5, select(TaskMatrix::ALL), positive());
    let vera = option::of((number(), number()));
    let scalars = (1usize..300, number(), probability(), seed(), dtype(), vera, select(LoraBias::ALL));
    (base, any::<bool>(), any::<[bool; 5]>(), layers(), matrices, scalars, select(LoraInit::ALL), mtl)
        .prop_map(|(base, keep, flags, leave_out, matrices, scalars, init, (n, matrix, sharpness))| {
            if keep {
                return base.with_leave_out(leave_out).with_attn_matrices(matrices);
            }
            let (r, alpha, dropout, seed, dtype, vera, bias) = scalars;
            let scale = base.composition_mode == CompositionMode::Scale;
            let mtl = base.mtl.is_some();
            let mut config = base
                .with_selfattn_lora(flags[0] || !(flags[1] || flags[2]))
                .with_intermediate_lora(flags[1])
                .with_output_lora(flags[2])
                .with_gate_lora(flags[4])
                .with_leave_out(leave_out)
                .with_attn_matrices(matrices)
                .with_r(if scale { 1 } else { r })
                .with_alpha(alpha)
                .with_dropout(if scale { 0.0 } else { dropout })
                .with_init_weights(if scale { LoraInit::Ia3 } else { init })
                .with_init_weights_seed(seed)
                .with_use_gating(flags[3]);
            config.dtype = dtype;
            if mtl {
                config.mtl = Some(MtlLora {
                    n_up_projection: n,
                    task_specific_matrix_type: matrix,
                    weights_sharpness: sharpness,
                });
            } else if !scale {
                config = config.with_vera_d(vera.map(|(d, _)| d)).with_vera_b(vera.map(|(_, b)| b));
                if vera.is_none() && !config.use_dora {
                    config.bias = bias;
                }
            }
            config
        })
        .boxed()
}

fn prefix() -> BoxedStrategy<PrefixTuningConfig> {
    (any::<[bool; 5]>(), layers(), 1usize..500, 1usize..5000, select(Activation::ALL), probability(), seed())
        .prop_map(|(flags, leave_out, length, size, activation, dropout, seed)| PrefixTuningConfig {
            encoder_prefix: flags[0],
            cross_prefix: flags[1],
            flat: flags[2],
            use_gating: flags[3],
            shared_gating: flags[4],
            leave_out,
            prefix_length: length,
            bottleneck_size: size,
            non_linearity: activation,
            dropout,
            init_weights_seed: seed,
        })
        .boxed()
}

fn prompt() -> BoxedStrategy<PromptTuningConfig> {
    (
        1usize..500,
        option::of(text()),
        any::<bool>(),
        prop_oneof![Just(0.5), positive()],
        select(PromptCombine::ALL),
        seed(),
    )
        .prop_map(|(length, text, from_string, scale, combine, seed)| PromptTuningConfig {
            prompt_length: length,
            prompt_init: if from_string && text.is_some() { PromptInit::FromString } else { PromptInit::RandomUniform },
            prompt_init_text: text,
            random_uniform_scale: scale,
            combine,
            init_weights_seed: seed,
        })
        .boxed()
}

fn reft() -> BoxedStrategy<ReftConfig> {
    let chosen = btree_set(0usize..50, 1..5).prop_map(|set| ReftLayers::Some(set.into_iter().collect()));
    let positions = (1usize..5, 0usize..5, 1usize..50);
    let rest = (any::<[bool; 3]>(), probability(), option::of(select(Activation::ALL)), dtype(), seed());
    (prop_oneof![Just(ReftLayers::All), chosen], positions, rest)
        .prop_map(|(layers, (prefix, suffix, r), (flags, dropout, activation, dtype, seed))| ReftConfig {
            layers,
            prefix_positions: prefix,
            suffix_positions: suffix,
            r,
            orthogonality: flags[0],
            tied_weights: flags[1],
            subtract_projection: flags[2],
            dropout,
            non_linearity: activation,
            dtype,
            output_reft: true,
            init_weights_seed: seed,
        })
        .boxed()
}

/// Any configuration that is valid: an entry of the registry, one method, or a union.
fn config() -> BoxedStrategy<AdapterConfig> {
    let one = prop_oneof![
        bottleneck().prop_map(AdapterConfig::from),
        lora().prop_map(AdapterConfig::from),
        prefix().prop_map(AdapterConfig::from),
        prompt().prop_map(AdapterConfig::from),
        reft().prop_map(AdapterConfig::from),
    ];
    let many = (option::of(bottleneck()), option::of(lora()), option::of(prefix()), prompt(), reft()).prop_map(
        |(bottleneck, lora, prefix, prompt, reft)| {
            let mut methods: Vec<MethodConfig> = vec![reft.into(), prompt.into()];
            methods.extend(lora.map(MethodConfig::from));
            methods.extend(prefix.map(MethodConfig::from));
            methods.extend(bottleneck.map(MethodConfig::from));
            AdapterConfig::union(methods).unwrap()
        },
    );
    let named =
        (select(identifiers().to_vec()), probability(), layers()).prop_map(|(identifier, dropout, leave_out)| {
            let methods = identifier.config().methods().to_vec().into_iter().map(move |method| match method {
                MethodConfig::Bottleneck(config) => {
                    config.with_dropout(dropout).with_leave_out(leave_out.clone()).into()
                }
                MethodConfig::PrefixTuning(config) => {
                    config.with_dropout(dropout).with_leave_out(leave_out.clone()).into()
                }
                MethodConfig::Lora(config) if config.r > 1 => {
                    config.with_dropout(dropout).with_leave_out(leave_out.clone()).into()
                }
                other => other,
            });
            AdapterConfig::union(methods).unwrap()
        });
    prop_oneof![3 => one, 1 => many, 1 => named].boxed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_configuration_survives_its_string(config in config()) {
        prop_assert!(config.validate().is_ok(), "{:?}", config.validate());
        let text = config.to_string();
        let read = text.parse::<AdapterConfig>();
        prop_assert_eq!(read.as_ref(), Ok(&config), "{}", text);
        prop_assert_eq!(read.unwrap().to_string(), text);
    }

    #[test]
    fn a_configuration_survives_its_json(config in config()) {
        let value = config.to_json_value();
        let read = AdapterConfig::from_json_value(&value);
        prop_assert_eq!(read.as_ref(), Ok(&config), "{}", value);
        let read = AdapterConfig::from_json_str(&value.to_string());
        prop_assert_eq!(read.as_ref(), Ok(&config), "{}", value);
    }
}

/// The spans of an error lie in the text; a configuration can be written and read again.
fn is_told_well(text: &str) {
    for outcome in [text.parse::<AdapterConfig>(), AdapterConfig::from_json_str(text)] {
        match outcome {
            Ok(config) => assert_eq!(config.to_string().parse::<AdapterConfig>().unwrap(), config),
            Err(error) => {
                assert!(!error.problems().is_empty());
                for problem in error.problems() {
                    assert!(error.text().get(problem.span.clone()).is_some(), "{problem:?} in {text:?}");
                    let (_, _, _) = (problem.message(), problem.label(), problem.help());
                }
                let _ = error.to_string();
            }
        }
    }
}

/// Texts of the elements of configurations, so that they get far into the grammar.
fn nearly_a_configuration() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        3 => select(vec!["[", "]", "(", ")", "{", "}", ",", "=", ":", "|", "'", "\"", "'''", "\\", "\n", " ", "#"])
            .prop_map(str::to_owned),
        2 => select(vec!["seq_bn", "mam", "lora", "reduction_factor", "leave_out", "attn_matrices", "config", "configs"])
            .prop_map(str::to_owned),
        2 => select(vec!["True", "null", "None", "1", "-1", "1e5", "0x", "1_0", ".", "\\u", "\\x4", "r'", "é", "𝄞"])
            .prop_map(str::to_owned),
    ];
    vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn texts_made_of_tokens_never_panic(text in nearly_a_configuration()) {
        is_told_well(&text);
    }

    #[test]
    fn spoilt_strings_never_panic(
        config in config(),
        spoils in vec((any::<prop::sample::Index>(), option::of(any::<char>())), 1..5),
    ) {
        for text in [config.to_string(), config.to_json_value().to_string()] {
            let mut chars: Vec<char> = text.chars().collect();
            for (place, with) in &spoils {
                if chars.is_empty() {
                    break;
                }
                let place = place.index(chars.len());
                match with {
                    Some(c) => chars[place] = *c,
                    None => drop(chars.remove(place)),
                }
            }
            is_told_well(&chars.into_iter().collect::<String>());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..=64 * 1024)) {
        is_told_well(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn long_texts_made_of_tokens_never_panic(pieces in vec(nearly_a_configuration(), 0..600)) {
        is_told_well(&pieces.concat());
    }
}

// Printing: the shortest equivalent string.

#[track_caller]
fn prints(config: impl Into<AdapterConfig>, expected: &str) {
    let config = config.into();
    assert_eq!(config.to_string(), expected);
    assert_eq!(expected.parse::<AdapterConfig>().unwrap(), config);
}

#[test]
fn every_identifier_prints_as_its_name() {
    for identifier in identifiers() {
        prints(identifier.config(), identifier.name);
        for alias in identifier.aliases {
            prints(alias.parse::<AdapterConfig>().unwrap(), identifier.name);
        }
    }
}

#[test]
fn the_nearest_entry_is_the_one_that_is_changed() {
    prints(BottleneckConfig::seq_bn().with_reduction_factor(8), "seq_bn[reduction_factor=8]");
    prints(
        BottleneckConfig::compacter().with_phm_layer(false).with_reduction_factor(16),
        "double_seq_bn[non_linearity='gelu']",
    );
    prints(BottleneckConfig::par_bn().with_scaling(1.0), "par_bn[scaling=1.0]");
    prints(LoraConfig::lora().with_use_dora(true).with_r(2), "dora[r=2]");
    prints(
        PrefixTuningConfig::prefix_tuning().with_flat(true).with_prefix_length(5),
        "prefix_tuning_flat[prefix_length=5]",
    );
    prints(ReftConfig::loreft().with_subtract_projection(false), "direft[orthogonality=True]");
    prints(BottleneckConfig::seq_bn_inv().with_inv_adapter(None), "seq_bn_inv[inv_adapter=None]");
}

#[test]
fn values_take_no_more_characters_than_they_need() {
    let factor = ReductionFactor::per_layer([(10, 2.0), (2, 0.5)], 16.0);
    prints(
        BottleneckConfig::seq_bn().with_reduction_factor(factor),
        "seq_bn[reduction_factor={'10':2,'2':0.5,'default':16}]",
    );
    prints(
        LoraConfig::lora().with_attn_matrices(["q", "k"]).with_leave_out([0, 11]),
        "lora[leave_out=[0,11],attn_matrices=['q','k']]",
    );
    prints(LoraConfig::lora().with_alpha(1e20), "lora[alpha=1e20]");
}

#[test]
fn texts_are_quoted_so_that_the_reference_can_read_them() {
    let text = |text: &str| PromptTuningConfig::prompt_tuning().with_prompt_init_text(text);
    prints(text("it's"), "prompt_tuning[prompt_init_text=\"it's\"]");
    prints(text("'\"\\"), "prompt_tuning[prompt_init_text='\\'\"\\\\']");
    prints(text("a=b|c\n\u{1}é"), "prompt_tuning[prompt_init_text='a\\x3db\\x7cc\\n\\u0001é']");
}

#[test]
fn a_named_union_is_known_again() {
    prints("prefix_tuning[bottleneck_size=800]|parallel".parse::<AdapterConfig>().unwrap(), "mam");
    prints("mam[leave_out=[0]]".parse::<AdapterConfig>().unwrap(), "mam[leave_out=[0]]");
    prints(
        "prefix_tuning[bottleneck_size=800]|par_bn[dropout=0.1]".parse::<AdapterConfig>().unwrap(),
        "prefix_tuning[bottleneck_size=800]|par_bn[dropout=0.1]",
    );
    // The order of a union is the order of its dictionary, and preserved.
    prints(
        "par_bn|prefix_tuning[bottleneck_size=800]".parse::<AdapterConfig>().unwrap(),
        "par_bn|prefix_tuning[bottleneck_size=800]",
    );
}
