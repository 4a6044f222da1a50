//! The registry of methods by name.

use crate::{
    AdapterConfig, BottleneckConfig, ConfigError, LoraConfig, MethodConfig, PrefixTuningConfig, Problem, ProblemKind,
    PromptTuningConfig, ReftConfig,
};
use burn_adapters_diagnostics::nearest;

/// The kind of change that a method makes to a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MethodKind {
    /// Small networks after or beside a layer's blocks.
    Bottleneck,
    /// Changes to weight matrices.
    Lora,
    /// Keys and values before those of attention.
    PrefixTuning,
    /// Embeddings in the input.
    PromptTuning,
    /// Interventions on hidden states.
    Reft,
    /// Several methods at once.
    Union,
}

impl MethodKind {
    /// The kind in words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bottleneck => "bottleneck",
            Self::Lora => "lora",
            Self::PrefixTuning => "prefix tuning",
            Self::PromptTuning => "prompt tuning",
            Self::Reft => "reft",
            Self::Union => "union",
        }
    }
}

/// A name for a configuration.
#[derive(Debug, Clone, Copy)]
pub struct Identifier {
    /// The name.
    pub name: &'static str,
    /// Older names for the same configuration.
    pub aliases: &'static [&'static str],
    /// A one-line description.
    pub summary: &'static str,
    /// The paper: authors, year, address.
    pub paper: &'static str,
    /// The kind of the method.
    pub kind: MethodKind,
    make: fn() -> AdapterConfig,
}

impl Identifier {
    /// The configuration.
    pub fn config(&self) -> AdapterConfig {
        (self.make)()
    }
}

macro_rules! identifiers {
    ($($name:literal $aliases:expr, $kind:ident, $summary:literal, $paper:expr, $make:expr;)*) => {
        &[$(Identifier {
            name: $name,
            aliases: &$aliases,
            summary: $summary,
            paper: $paper,
            kind: MethodKind::$kind,
            make: || $make.into(),
        }),*]
    };
}

const PFEIFFER: &str = "Pfeiffer et al. (2020), https://arxiv.org/abs/2005.00247";
const PFEIFFER_INV: &str = "Pfeiffer et al. (2020), https://arxiv.org/abs/2005.00052";
const HOULSBY: &str = "Houlsby et al. (2019), https://arxiv.org/abs/1902.00751";
const HE: &str = "He et al. (2021), https://arxiv.org/abs/2110.04366";
const MAHABADI: &str = "Mahabadi et al. (2021), https://arxiv.org/abs/2106.04647";
const LI_LIANG: &str = "Li and Liang (2021), https://arxiv.org/abs/2101.00190";
const WU: &str = "Wu et al. (2024), https://arxiv.org/abs/2404.03592";

static IDENTIFIERS: &[Identifier] = identifiers! {
    "seq_bn" ["pfeiffer"], Bottleneck, "an adapter after the feed-forward block", PFEIFFER,
        BottleneckConfig::seq_bn();
    "double_seq_bn" ["houlsby"], Bottleneck, "adapters after the attention and the feed-forward block", HOULSBY,
        BottleneckConfig::double_seq_bn();
    "par_bn" ["parallel"], Bottleneck, "an adapter beside the feed-forward block", HE, BottleneckConfig::par_bn();
    "scaled_par_bn" ["scaled_parallel"], Bottleneck, "par_bn with a learned scaling", HE,
        BottleneckConfig::scaled_par_bn();
    "seq_bn_inv" ["pfeiffer+inv"], Bottleneck, "seq_bn with an invertible adapter after the embeddings", PFEIFFER_INV,
        BottleneckConfig::seq_bn_inv();
    "double_seq_bn_inv" ["houlsby+inv"], Bottleneck,
        "double_seq_bn with an invertible adapter after the embeddings", PFEIFFER_INV,
        BottleneckConfig::double_seq_bn_inv();
    "compacter++" [], Bottleneck, "seq_bn with parameterized hypercomplex layers", MAHABADI,
        BottleneckConfig::compacter_plus_plus();
    "compacter" [], Bottleneck, "double_seq_bn with parameterized hypercomplex layers", MAHABADI,
        BottleneckConfig::compacter();
    "prefix_tuning" [], PrefixTuning, "prefixes of keys and values, trained through an MLP", LI_LIANG,
        PrefixTuningConfig::prefix_tuning();
    "prefix_tuning_flat" [], PrefixTuning, "prefixes of keys and values, trained directly", LI_LIANG,
        PrefixTuningConfig::prefix_tuning_flat();
    "prompt_tuning" [], PromptTuning, "trained embeddings before the text",
        "Lester et al. (2021), https://arxiv.org/abs/2104.08691", PromptTuningConfig::prompt_tuning();
    "mtl_lora" [], Lora, "LoRA for several tasks at once", "Yang et al. (2024), https://arxiv.org/abs/2410.09437",
        LoraConfig::mtl_lora();
    "lora" [], Lora, "low-rank updates of weight matrices", "Hu et al. (2021), https://arxiv.org/abs/2106.09685",
        LoraConfig::lora();
    "ia3" [], Lora, "trained factors on keys, values and the feed-forward block",
        "Liu et al. (2022), https://arxiv.org/abs/2205.05638", LoraConfig::ia3();
    "vera" [], Lora, "LoRA with frozen random matrices and trained vectors",
        "Kopiczko et al. (2023), https://arxiv.org/abs/2310.11454", LoraConfig::vera();
    "dora" [], Lora, "LoRA on the direction of weights, and a trained magnitude",
        "Liu et al. (2024), https://arxiv.org/abs/2402.09353", LoraConfig::dora();
    "dvora" [], Lora, "dora with the direction adapted as in vera",
        "Liu et al. (2024), https://arxiv.org/abs/2402.09353", LoraConfig::dvora();
    "loreft" [], Reft, "low-rank interventions in an orthonormal subspace", WU, ReftConfig::loreft();
    "noreft" [], Reft, "loreft without orthonormality", WU, ReftConfig::noreft();
    "direft" [], Reft, "noreft without subtracting the projection", WU, ReftConfig::direft();
    "mam" [], Union, "prefix tuning and a parallel adapter", HE, AdapterConfig::mam();
    "unipelt" [], Union, "prefix tuning, an adapter and LoRA, each with a gate",
        "Mao et al. (2022), https://arxiv.org/abs/2110.07577", AdapterConfig::unipelt();
    "adapter_plus" [], Bottleneck, "an adapter with a scaling per channel, for vision transformers",
        "Steitz and Roth (2024), https://arxiv.org/abs/2406.06820", BottleneckConfig::adapter_plus();
};

/// Every method by name, in the reference's order.
///
/// ```
/// let names: Vec<_> = burn_adapters_config::identifiers().iter().map(|identifier| identifier.name).collect();
/// assert!(names.starts_with(&["seq_bn", "double_seq_bn"]));
/// ```
pub fn identifiers() -> &'static [Identifier] {
    IDENTIFIERS
}

/// The entry with this name or alias.
pub(crate) fn find(name: &str) -> Option<&'static Identifier> {
    IDENTIFIERS.iter().find(|identifier| identifier.name == name || identifier.aliases.contains(&name))
}

pub(crate) fn unknown(name: &str) -> ProblemKind {
    let names = IDENTIFIERS.iter().flat_map(|identifier| identifier.aliases.iter().chain([&identifier.name]).copied());
    let nearest = nearest(name, names).and_then(find).map(|identifier| identifier.name.to_owned());
    ProblemKind::UnknownIdentifier { name: burn_adapters_diagnostics::shortened(name), nearest }
}

impl MethodConfig {
    /// The kind of the method.
    pub fn kind(&self) -> MethodKind {
        match self {
            Self::Bottleneck(_) => MethodKind::Bottleneck,
            Self::Lora(_) => MethodKind::Lora,
            Self::PrefixTuning(_) => MethodKind::PrefixTuning,
            Self::PromptTuning(_) => MethodKind::PromptTuning,
            Self::Reft(_) => MethodKind::Reft,
        }
    }
}

impl AdapterConfig {
    /// The kind of the adapter; [`MethodKind::Union`] for several methods.
    pub fn kind(&self) -> MethodKind {
        match self.methods() {
            [method] => method.kind(),
            _ => MethodKind::Union,
        }
    }

    /// The configuration with this name or alias, without attributes.
    ///
    /// # Errors
    ///
    /// [`ProblemKind::UnknownIdentifier`], with the nearest known name.
    pub fn from_identifier(name: &str) -> Result<Self, ConfigError> {
        let found = find(name).map(Identifier::config);
        found.ok_or_else(|| ConfigError::new(name, vec![Problem::new(0..name.len(), unknown(name))]))
    }
}
