//! Printing: the shortest equivalent string.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use burn_adapters_config::{
    AdapterConfig, BottleneckConfig, LoraConfig, PrefixTuningConfig, PromptTuningConfig, ReductionFactor, ReftConfig,
    identifiers,
};

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
