//! Validation of the attributes of one method, from any source.

use std::collections::HashSet;

use crate::problem::ProblemKind;
use crate::{
    BottleneckConfig, CompositionMode, LoraBias, LoraConfig, LoraInit, MethodConfig, MtlLora, PrefixTuningConfig,
    PromptInit, PromptTuningConfig, ReductionFactor, ReftConfig, ReftLayers, ResidualBeforeLn, Scaling,
};

/// A problem and the key that it belongs to.
pub(crate) type Finding = (&'static str, ProblemKind);

/// Collects problems.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn range(&mut self, key: &'static str, value: impl ToString, holds: bool, allowed: &'static str) {
        if !holds {
            self.0.push((key, ProblemKind::OutOfRange { key: key.to_owned(), value: value.to_string(), allowed }));
        }
    }

    fn probability(&mut self, key: &'static str, p: f64) {
        self.range(key, p, (0.0..1.0).contains(&p), "at least 0 and below 1");
    }

    fn positive(&mut self, key: &'static str, count: usize) {
        self.range(key, count, count > 0, "1 or greater");
    }

    fn above_zero(&mut self, key: &'static str, number: f64) {
        self.range(key, number, number.is_finite() && number > 0.0, "greater than 0, and finite");
    }

    fn not_negative(&mut self, key: &'static str, number: f64) {
        self.range(key, number, number.is_finite() && number >= 0.0, "0 or greater, and finite");
    }

    fn finite(&mut self, key: &'static str, number: f64) {
        self.range(key, number, number.is_finite(), "finite");
    }

    fn once<T: std::hash::Hash + Eq + ToString>(&mut self, key: &'static str, items: &[T]) {
        let mut seen = HashSet::new();
        if let Some(twice) = items.iter().find(|item| !seen.insert(*item)) {
            self.0.push((key, ProblemKind::DuplicateItem { key: key.to_owned(), item: twice.to_string() }));
        }
    }

    fn dtype(&mut self, dtype: &Option<String>) {
        let Some(name) = dtype.as_ref().filter(|name| !crate::DTYPES.contains(&name.as_str())) else {
            return;
        };
        let value = format!("'{}'", burn_adapters_diagnostics::shortened(name));
        let allowed = crate::DTYPES.to_vec();
        self.0.push(("dtype", ProblemKind::UnknownValue { key: "dtype".into(), value, allowed, nearest: None }));
    }

    fn combination(&mut self, wrong: bool, key: &'static str, reason: &'static str, remedy: &'static str) {
        if wrong {
            self.0.push((key, ProblemKind::Combination { key, reason, remedy }));
        }
    }

    fn trains_nothing(
        &mut self,
        wrong: bool,
        key: &'static str,
        owner: &str,
        reason: &'static str,
        remedy: &'static str,
    ) {
        if wrong {
            self.0.push((key, ProblemKind::TrainsNothing { owner: owner.to_owned(), reason, remedy }));
        }
    }
}

impl MethodConfig {
    /// Attributes whose own value is invalid.
    pub(crate) fn ranges(&self) -> Vec<Finding> {
        let mut findings = Findings::default();
        match self {
            Self::Bottleneck(config) => bottleneck_ranges(config, &mut findings),
            Self::Lora(config) => lora_ranges(config, &mut findings),
            Self::PrefixTuning(config) => prefix_ranges(config, &mut findings),
            Self::PromptTuning(config) => prompt_ranges(config, &mut findings),
            Self::Reft(config) => reft_ranges(config, &mut findings),
        }
        findings.0
    }

    /// Attributes that are invalid together.
    pub(crate) fn combinations(&self) -> Vec<Finding> {
        let mut findings = Findings::default();
        match self {
            Self::Bottleneck(config) => bottleneck_combinations(config, &mut findings),
            Self::Lora(config) => lora_combinations(config, &mut findings),
            Self::PrefixTuning(_) => {}
            Self::PromptTuning(config) => findings.combination(
                config.prompt_init == PromptInit::FromString && config.prompt_init_text.is_none(),
                "prompt_init",
                "`prompt_init='from_string'` needs `prompt_init_text`",
                "add `prompt_init_text`",
            ),
            Self::Reft(config) => reft_combinations(config, &mut findings),
        }
        findings.0
    }
}

fn bottleneck_ranges(config: &BottleneckConfig, findings: &mut Findings) {
    match &config.reduction_factor {
        ReductionFactor::Uniform(factor) => findings.above_zero("reduction_factor", *factor),
        ReductionFactor::PerLayer { layers, default } => {
            let wrong = layers.values().chain(default).find(|factor| !(factor.is_finite() && **factor > 0.0));
            if let Some(factor) = wrong {
                findings.above_zero("reduction_factor", *factor);
            }
            let empty = layers.is_empty() && default.is_none();
            findings.range("reduction_factor", "an empty map", !empty, "a map with entries, such as {'default': 16}");
        }
    }
    if let Scaling::Constant(factor) = config.scaling {
        findings.finite("scaling", factor);
    }
    if let Some(factor) = config.inv_adapter_reduction_factor {
        findings.above_zero("inv_adapter_reduction_factor", factor);
    }
    findings.once("leave_out", &config.leave_out);
    findings.probability("dropout", config.dropout);
    findings.probability("stochastic_depth", config.stochastic_depth);
    findings.positive("phm_dim", config.phm_dim);
    findings.positive("phm_rank", config.phm_rank);
    findings.not_negative("phm_init_range", config.phm_init_range);
}

fn bottleneck_combinations(config: &BottleneckConfig, findings: &mut Findings) {
    findings.combination(
        config.residual_before_ln == ResidualBeforeLn::PostAdd && !config.original_ln_before && !config.is_parallel,
        "residual_before_ln",
        "`residual_before_ln='post_add'` needs `original_ln_before=True`: without it nothing is added first",
        "add `original_ln_before=True`",
    );
    findings.combination(
        config.inv_adapter.is_some() && config.inv_adapter_reduction_factor.is_none(),
        "inv_adapter",
        "`inv_adapter` needs `inv_adapter_reduction_factor`",
        "add `inv_adapter_reduction_factor=2`",
    );
    let places = config.mh_adapter || config.output_adapter || config.cross_adapter || config.inv_adapter.is_some();
    findings.trains_nothing(
        !places,
        if config.output_adapter { "mh_adapter" } else { "output_adapter" },
        "a bottleneck adapter",
        "it has no position in the model",
        "set `mh_adapter`, `output_adapter` or `cross_adapter`",
    );
}

fn lora_ranges(config: &LoraConfig, findings: &mut Findings) {
    findings.positive("r", config.r);
    findings.finite("alpha", config.alpha);
    findings.probability("dropout", config.dropout);
    findings.once("leave_out", &config.leave_out);
    findings.once("attn_matrices", &config.attn_matrices);
    findings.dtype(&config.dtype);
    for (key, value) in [("vera_d", config.vera_d), ("vera_b", config.vera_b)] {
        if let Some(value) = value {
            findings.finite(key, value);
        }
    }
    if let Some(MtlLora { n_up_projection, weights_sharpness, .. }) = config.mtl {
        findings.positive("n_up_projection", n_up_projection);
        findings.above_zero("weights_sharpness", weights_sharpness);
    }
}

fn lora_combinations(config: &LoraConfig, findings: &mut Findings) {
    let scale = config.composition_mode == CompositionMode::Scale;
    let vera = config.vera_d.is_some() || config.vera_b.is_some();
    let mode = "composition_mode";
    findings.combination(
        scale && config.r > 1,
        "r",
        "`composition_mode='scale'` needs `r=1`: the model's values are multiplied by one vector",
        "write `r=1`",
    );
    findings.combination(
        scale && config.dropout > 0.0,
        "dropout",
        "`composition_mode='scale'` has no input to apply dropout to",
        "write `dropout=0.0`",
    );
    findings.combination(
        scale && config.use_dora,
        "use_dora",
        "`use_dora` needs `composition_mode='add'`",
        "remove one of the two",
    );
    findings.combination(
        scale && config.init_weights == LoraInit::Vera,
        "init_weights",
        "`init_weights='vera'` needs `composition_mode='add'`",
        "write `init_weights='ia3'`",
    );
    findings.combination(scale && vera, mode, "VeRA needs `composition_mode='add'`", "write `'add'`");
    findings.combination(
        config.vera_d.is_some() != config.vera_b.is_some(),
        if config.vera_d.is_some() { "vera_d" } else { "vera_b" },
        "VeRA needs both `vera_d` and `vera_b`",
        "add the other one, such as `vera_d=0.1` and `vera_b=0.0`",
    );
    findings.combination(
        config.bias != LoraBias::None && (scale || vera || config.use_dora || config.mtl.is_some()),
        "bias",
        "only LoRA trains a bias",
        "remove `bias`",
    );
    if config.mtl.is_some() {
        findings.combination(scale, mode, "MTL-LoRA needs `composition_mode='add'`", "write `'add'`");
        findings.combination(vera, "vera_d", "MTL-LoRA cannot be combined with VeRA", "remove `vera_d` and `vera_b`");
        findings.combination(config.use_dora, "use_dora", "MTL-LoRA cannot be combined with DoRA", "remove it");
    }
    let attention = config.selfattn_lora && !config.attn_matrices.is_empty();
    findings.trains_nothing(
        !attention && !config.intermediate_lora && !config.output_lora && !config.gate_lora,
        if config.selfattn_lora { "attn_matrices" } else { "selfattn_lora" },
        "LoRA",
        "it adapts no matrix",
        "name matrices in `attn_matrices`, or set `selfattn_lora`, `intermediate_lora`, `output_lora` or `gate_lora`",
    );
}

fn prefix_ranges(config: &PrefixTuningConfig, findings: &mut Findings) {
    findings.positive("prefix_length", config.prefix_length);
    findings.positive("bottleneck_size", config.bottleneck_size);
    findings.probability("dropout", config.dropout);
    findings.once("leave_out", &config.leave_out);
}

fn prompt_ranges(config: &PromptTuningConfig, findings: &mut Findings) {
    findings.positive("prompt_length", config.prompt_length);
    findings.not_negative("random_uniform_scale", config.random_uniform_scale);
}

fn reft_ranges(config: &ReftConfig, findings: &mut Findings) {
    findings.positive("r", config.r);
    findings.probability("dropout", config.dropout);
    findings.dtype(&config.dtype);
    if let ReftLayers::Some(layers) = &config.layers {
        findings.once("layers", layers);
    }
}

fn reft_combinations(config: &ReftConfig, findings: &mut Findings) {
    findings.trains_nothing(
        matches!(&config.layers, ReftLayers::Some(layers) if layers.is_empty()),
        "layers",
        "ReFT",
        "it intervenes after no layer",
        "write `'all'`, or name layers",
    );
    findings.trains_nothing(
        config.prefix_positions == 0 && config.suffix_positions == 0,
        if config.suffix_positions == 0 { "prefix_positions" } else { "suffix_positions" },
        "ReFT",
        "it intervenes at no position",
        "set `prefix_positions` or `suffix_positions`",
    );
    findings.trains_nothing(
        !config.output_reft,
        "output_reft",
        "ReFT",
        "it intervenes on outputs only",
        "write `output_reft=True`",
    );
}
