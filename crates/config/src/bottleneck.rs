//! Bottleneck adapters (the reference's `BnConfig`).

use std::collections::BTreeMap;

use crate::Activation;
use crate::macros::{builders, names};

/// How much narrower the bottleneck is than the hidden states: its width is `max(1, ⌊hidden / factor⌋)`.
///
/// A factor below 1 gives a bottleneck wider than the hidden states.
#[derive(Debug, Clone, PartialEq)]
pub enum ReductionFactor {
    /// One factor for every layer.
    Uniform(f64),
    /// A factor per layer (from 0), and a default for all other layers.
    PerLayer {
        /// Layer → factor.
        layers: BTreeMap<usize, f64>,
        /// The factor of all other layers; without it, every layer must have an entry.
        default: Option<f64>,
    },
}

/// The factor on the output of an adapter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scaling {
    /// A constant.
    Constant(f64),
    /// A trained scalar, initially 1.
    Learned,
    /// A trained vector of the hidden size, initially ones (AdapterPlus).
    Channel,
}

/// Where the residual connection around a sequential adapter starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResidualBeforeLn {
    /// Before the model's layer norm and residual (JSON `true`).
    True,
    /// After the model's layer norm (JSON `false`).
    False,
    /// After the model's residual is added, before its layer norm. Needs `original_ln_before`.
    PostAdd,
}

/// Initialization of a new bottleneck adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BottleneckInit {
    /// Normal with standard deviation 0.02; biases are 0.
    Bert,
    /// Down-projection Kaiming-uniform, up-projection 0, so a new adapter changes nothing (He et al., 2021).
    MamAdapter,
    /// Normal with standard deviation 0.01, truncated at two standard deviations; biases are 0 (Houlsby et al., 2019).
    Houlsby,
}

/// The coupling block of an invertible adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvertibleKind {
    /// Additive coupling (Dinh et al., 2014).
    Nice,
    /// Affine coupling (Kingma and Dhariwal, 2018).
    Glow,
}

/// Initialization of the rule matrices of a PHM layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PhmRuleInit {
    /// Normal with standard deviation `phm_init_range` for a shared rule, 0.01 otherwise.
    Normal,
    /// Uniform in `[-1, 1]` for a shared rule, in `[-0.01, 0.01]` otherwise.
    Uniform,
}

/// Initialization of the weights of a PHM layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HypercomplexInit {
    /// Glorot's uniform distribution.
    GlorotUniform,
    /// Glorot's normal distribution.
    GlorotNormal,
    /// Normal with standard deviation `phm_init_range`.
    Normal,
}

/// A bottleneck adapter: a down-projection, a non-linearity, an up-projection (Houlsby et al., 2019; Pfeiffer et al.,
/// 2020; He et al., 2021). The fields have the names of the reference's `BnConfig`.
#[derive(Debug, Clone, PartialEq)]
pub struct BottleneckConfig {
    /// Adapters after the attention block of each layer.
    pub mh_adapter: bool,
    /// Adapters after the feed-forward block of each layer.
    pub output_adapter: bool,
    /// The reduction factor of the bottleneck.
    pub reduction_factor: ReductionFactor,
    /// The activation in the bottleneck.
    pub non_linearity: Activation,
    /// Apply the model's residual and layer norm before the adapter too. Sequential only.
    pub original_ln_before: bool,
    /// Apply the model's residual and layer norm after the adapter.
    pub original_ln_after: bool,
    /// A new layer norm before the down-projection.
    pub ln_before: bool,
    /// A new layer norm after the up-projection.
    pub ln_after: bool,
    /// Initialization of new weights.
    pub init_weights: BottleneckInit,
    /// Initialize every module of the adapter from this seed, so that modules of one shape start equal.
    pub init_weights_seed: Option<u64>,
    /// Run in parallel to the block instead of after it.
    pub is_parallel: bool,
    /// The factor on the output.
    pub scaling: Scaling,
    /// A trained gate per sequence, as in UniPELT.
    pub use_gating: bool,
    /// Where the residual around the adapter starts. Only with `original_ln_before`.
    pub residual_before_ln: ResidualBeforeLn,
    /// Add the residual before the layer norm of `ln_after`. Sequential only.
    pub adapter_residual_before_ln: bool,
    /// An invertible adapter after the embeddings.
    pub inv_adapter: Option<InvertibleKind>,
    /// The reduction factor of the invertible adapter's networks.
    pub inv_adapter_reduction_factor: Option<f64>,
    /// Adapters after the cross-attention block of each decoder layer.
    pub cross_adapter: bool,
    /// Layers (from 0) that get no adapter.
    pub leave_out: Vec<usize>,
    /// Dropout on the adapter's output.
    pub dropout: f64,
    /// Project with PHM layers (Compacter).
    pub phm_layer: bool,
    /// The number of PHM summands `n`.
    pub phm_dim: usize,
    /// Factorize the PHM weights to rank `phm_rank`.
    pub factorized_phm_w: bool,
    /// One set of PHM weights for all layers.
    pub shared_w_phm: bool,
    /// One PHM rule for all layers.
    pub shared_phm_rule: bool,
    /// Factorize the PHM rule.
    pub factorized_phm_rule: bool,
    /// Initialization of the PHM rule.
    pub phm_c_init: PhmRuleInit,
    /// Standard deviation of the PHM rule.
    pub phm_init_range: f64,
    /// Train the PHM rule.
    pub learn_phm: bool,
    /// Initialization of the PHM weights.
    pub hypercomplex_nonlinearity: HypercomplexInit,
    /// Rank of the factorized PHM weights.
    pub phm_rank: usize,
    /// Biases in the PHM layers.
    pub phm_bias: bool,
    /// Probability of dropping an adapter's output for a whole row of the batch, in training.
    pub stochastic_depth: f64,
}

impl ReductionFactor {
    /// A factor per layer (from 0), and a default for all other layers.
    ///
    /// ```
    /// # use burn_adapters_config::ReductionFactor;
    /// let factor = ReductionFactor::per_layer([(0, 2.0), (5, 32.0)], 16.0);
    /// assert_eq!(factor.at(5), Some(32.0));
    /// assert_eq!(factor.at(6), Some(16.0));
    /// ```
    pub fn per_layer(layers: impl IntoIterator<Item = (usize, f64)>, default: impl Into<Option<f64>>) -> Self {
        Self::PerLayer { layers: layers.into_iter().collect(), default: default.into() }
    }

    /// The factor of a layer; `None` if a map has neither an entry for the layer nor a default.
    pub fn at(&self, layer: usize) -> Option<f64> {
        match self {
            Self::Uniform(factor) => Some(*factor),
            Self::PerLayer { layers, default } => layers.get(&layer).copied().or(*default),
        }
    }
}

macro_rules! uniform_from {
    ($($number:ty),*) => {$(
        impl From<$number> for ReductionFactor {
            fn from(factor: $number) -> Self {
                Self::Uniform(factor as f64)
            }
        }
    )*};
}
uniform_from!(f64, f32, i32, u32, i64, u64, usize);

impl From<f64> for Scaling {
    fn from(factor: f64) -> Self {
        Self::Constant(factor)
    }
}

impl From<bool> for ResidualBeforeLn {
    fn from(before: bool) -> Self {
        if before { Self::True } else { Self::False }
    }
}

names!(BottleneckInit { Bert = "bert", MamAdapter = "mam_adapter", Houlsby = "houlsby" });
names!(InvertibleKind { Nice = "nice", Glow = "glow" });
names!(PhmRuleInit { Normal = "normal", Uniform = "uniform" });
names!(HypercomplexInit { GlorotUniform = "glorot-uniform", GlorotNormal = "glorot-normal", Normal = "normal" });

impl BottleneckConfig {
    /// The reference's `BnConfig` with its required arguments, and defaults for the rest. By default it is not one of
    /// the registry's entries, because the model's layer norm is not applied before the adapter; start from one of
    /// those where you can.
    pub fn new(
        mh_adapter: bool,
        output_adapter: bool,
        reduction_factor: impl Into<ReductionFactor>,
        non_linearity: Activation,
    ) -> Self {
        Self {
            mh_adapter,
            output_adapter,
            reduction_factor: reduction_factor.into(),
            non_linearity,
            original_ln_before: false,
            original_ln_after: true,
            ln_before: false,
            ln_after: false,
            init_weights: BottleneckInit::Bert,
            init_weights_seed: None,
            is_parallel: false,
            scaling: Scaling::Constant(1.0),
            use_gating: false,
            residual_before_ln: ResidualBeforeLn::True,
            adapter_residual_before_ln: false,
            inv_adapter: None,
            inv_adapter_reduction_factor: None,
            cross_adapter: false,
            leave_out: Vec::new(),
            dropout: 0.0,
            phm_layer: false,
            phm_dim: 4,
            factorized_phm_w: true,
            shared_w_phm: false,
            shared_phm_rule: true,
            factorized_phm_rule: false,
            phm_c_init: PhmRuleInit::Normal,
            phm_init_range: 0.0001,
            learn_phm: true,
            hypercomplex_nonlinearity: HypercomplexInit::GlorotUniform,
            phm_rank: 1,
            phm_bias: true,
            stochastic_depth: 0.0,
        }
    }

    /// `seq_bn`: one adapter a layer, after the feed-forward block (Pfeiffer et al., 2020).
    pub fn seq_bn() -> Self {
        Self { original_ln_before: true, ..Self::new(false, true, 16, Activation::Relu) }
    }

    /// `double_seq_bn`: two adapters per layer, after attention and after the feed-forward block (Houlsby et al.,
    /// 2019).
    pub fn double_seq_bn() -> Self {
        Self::new(true, true, 16, Activation::Swish)
    }

    /// `par_bn`: an adapter in parallel to the feed-forward block (He et al., 2021).
    pub fn par_bn() -> Self {
        Self {
            init_weights: BottleneckInit::MamAdapter,
            is_parallel: true,
            scaling: Scaling::Constant(4.0),
            ..Self::new(false, true, 2, Activation::Relu)
        }
    }

    /// `scaled_par_bn`: [`par_bn`](Self::par_bn) with a learned scaling (He et al., 2021).
    pub fn scaled_par_bn() -> Self {
        Self { scaling: Scaling::Learned, ..Self::par_bn() }
    }

    /// `seq_bn_inv`: [`seq_bn`](Self::seq_bn) with an invertible adapter after the embeddings (Pfeiffer et al., 2020).
    pub fn seq_bn_inv() -> Self {
        Self::seq_bn().with_inv_adapter(InvertibleKind::Nice).with_inv_adapter_reduction_factor(2.0)
    }

    /// `double_seq_bn_inv`: [`double_seq_bn`](Self::double_seq_bn) with an invertible adapter after the embeddings.
    pub fn double_seq_bn_inv() -> Self {
        Self::double_seq_bn().with_inv_adapter(InvertibleKind::Nice).with_inv_adapter_reduction_factor(2.0)
    }

    /// `compacter`: [`double_seq_bn`](Self::double_seq_bn) with PHM layers (Mahabadi et al., 2021).
    pub fn compacter() -> Self {
        Self { phm_layer: true, ..Self::new(true, true, 32, Activation::Gelu) }
    }

    /// `compacter++`: [`seq_bn`](Self::seq_bn) with PHM layers (Mahabadi et al., 2021).
    pub fn compacter_plus_plus() -> Self {
        Self { phm_layer: true, original_ln_before: true, ..Self::new(false, true, 32, Activation::Gelu) }
    }

    /// `adapter_plus`: the adapter that Steitz and Roth (2024) found best for vision transformers, with scaling per
    /// channel and stochastic depth.
    pub fn adapter_plus() -> Self {
        Self {
            original_ln_before: true,
            original_ln_after: false,
            residual_before_ln: ResidualBeforeLn::False,
            stochastic_depth: 0.1,
            init_weights: BottleneckInit::Houlsby,
            scaling: Scaling::Channel,
            ..Self::new(false, true, 96, Activation::Gelu)
        }
    }
}

builders!(BottleneckConfig {
    with_mh_adapter mh_adapter: plain (bool);
    with_output_adapter output_adapter: plain (bool);
    with_reduction_factor reduction_factor: into (ReductionFactor);
    with_non_linearity non_linearity: plain (Activation);
    with_original_ln_before original_ln_before: plain (bool);
    with_original_ln_after original_ln_after: plain (bool);
    with_ln_before ln_before: plain (bool);
    with_ln_after ln_after: plain (bool);
    with_init_weights init_weights: plain (BottleneckInit);
    with_init_weights_seed init_weights_seed: into (Option<u64>);
    with_is_parallel is_parallel: plain (bool);
    with_scaling scaling: into (Scaling);
    with_use_gating use_gating: plain (bool);
    with_residual_before_ln residual_before_ln: into (ResidualBeforeLn);
    with_adapter_residual_before_ln adapter_residual_before_ln: plain (bool);
    with_inv_adapter inv_adapter: into (Option<InvertibleKind>);
    with_inv_adapter_reduction_factor inv_adapter_reduction_factor: into (Option<f64>);
    with_cross_adapter cross_adapter: plain (bool);
    with_leave_out leave_out: into (Vec<usize>);
    with_dropout dropout: plain (f64);
    with_phm_layer phm_layer: plain (bool);
    with_phm_dim phm_dim: plain (usize);
    with_factorized_phm_w factorized_phm_w: plain (bool);
    with_shared_w_phm shared_w_phm: plain (bool);
    with_shared_phm_rule shared_phm_rule: plain (bool);
    with_factorized_phm_rule factorized_phm_rule: plain (bool);
    with_phm_c_init phm_c_init: plain (PhmRuleInit);
    with_phm_init_range phm_init_range: plain (f64);
    with_learn_phm learn_phm: plain (bool);
    with_hypercomplex_nonlinearity hypercomplex_nonlinearity: plain (HypercomplexInit);
    with_phm_rank phm_rank: plain (usize);
    with_phm_bias phm_bias: plain (bool);
    with_stochastic_depth stochastic_depth: plain (f64);
});
