//! The bottleneck module.
//!
//! A sequential adapter sits at the end of a sublayer, which without adapters computes `y = norm(h + x)`, with `h` the
//! sublayer's output and `x` its input. Let `a(·)` be the bottleneck. Pfeiffer's form (`original_ln_before`) is `y =
//! norm(a(norm(h + x)) + h + x)`, Houlsby's is `y = norm(a(h) + h + x)`. A parallel adapter reads the sublayer's input:
//! `y = norm(h + s · a(x) + x)`.
//!
//! The three steps are separate methods ([`Bottleneck::enter`], [`Bottleneck::forward`], [`Bottleneck::leave`]),
//! because a composition of adapters runs the first step once, the second once per adapter, and the third once.

use burn::module::{Module, Param, ParamId};
use burn::nn::LayerNorm;
use burn::tensor::{Device, Tensor};
use burn_adapters_compacter::{CompacterError, PhmLinear, Position, SharedPhm};
use burn_adapters_config::{Activation, BottleneckConfig, BottleneckInit, ResidualBeforeLn, Scaling};
use burn_adapters_core::{Fill, Gate, Init, Mode, Norm, activate};
use thiserror::Error;

use crate::{Projection, bottleneck_width};

/// The options of a [`Bottleneck`] that are not sizes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Form {
    /// The activation in the bottleneck.
    pub non_linearity: Activation,
    /// Read the sublayer's input instead of its output.
    pub is_parallel: bool,
    /// A constant factor on the output; 1 if the factor is trained.
    pub scaling: f64,
    /// Apply the model's residual and norm before the adapter.
    pub original_ln_before: bool,
    /// Apply the model's residual and norm after the adapter.
    pub original_ln_after: bool,
    /// Where the residual around the adapter starts.
    pub residual_before_ln: ResidualBeforeLn,
    /// Add that residual before the adapter's own closing norm.
    pub adapter_residual_before_ln: bool,
    /// Dropout on the output.
    pub dropout: f64,
    /// The probability of dropping the output for a whole row of the batch.
    pub stochastic_depth: f64,
}

/// A bottleneck adapter at one site. See the [crate] for an example.
#[derive(Module, Debug)]
pub struct Bottleneck {
    /// The adapter's own norm before the down-projection, over `[hidden]`.
    pub norm_before: Option<LayerNorm>,
    /// `[hidden] → [width]`.
    pub down_project: Projection,
    /// `[width] → [hidden]`.
    pub up_project: Projection,
    /// The trained factor of the output: `[1]` (learned) or `[hidden]` (per channel).
    pub scale: Option<Param<Tensor<1>>>,
    /// The adapter's own norm after the up-projection, over `[hidden]`.
    pub norm_after: Option<LayerNorm>,
    /// The gate, one number per sequence.
    pub gate: Option<Gate>,
    /// Options of the computation.
    #[module(skip)]
    pub form: Form,
}

/// The state at the end of a sublayer, as adapters see it.
///
/// All tensors have the shape `[batch, sequence, hidden]`.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The input of the bottleneck.
    pub hidden: Tensor<3>,
    /// The residual that is added to the bottleneck's output (sequential adapters).
    pub residual: Tensor<3>,
}

/// The output of a bottleneck.
#[derive(Debug, Clone)]
pub struct BottleneckOutput {
    /// The adapted hidden states: `[batch, sequence, hidden]`.
    pub hidden: Tensor<3>,
    /// The scaled up-projection alone, which AdapterFusion attends to: `[batch, sequence, hidden]`.
    pub up: Tensor<3>,
    /// The gate: `[batch, 1, 1]`.
    pub gate: Option<Tensor<3>>,
}

impl Bottleneck {
    /// A new adapter for hidden states of `hidden_size` in layer `layer`.
    ///
    /// # Errors
    /// If the configuration gives no width for the layer, requires a residual that does not exist, or requires PHM
    /// layers whose `phm_dim` does not divide the sizes.
    pub fn new(
        config: &BottleneckConfig,
        hidden_size: usize,
        layer: usize,
        init: &mut Init,
        device: &Device,
    ) -> Result<Self, BottleneckError> {
        if config.residual_before_ln == ResidualBeforeLn::PostAdd && !config.original_ln_before && !config.is_parallel {
            return Err(BottleneckError::PostAddWithoutLayerNormBefore);
        }
        if config.phm_layer && config.init_weights != BottleneckInit::Bert {
            let found = config.init_weights;
            return Err(BottleneckError::InitOfPhm { found });
        }
        let width = bottleneck_width(&config.reduction_factor, hidden_size, layer)?;
        let init = &mut init.for_module(config.init_weights_seed);
        let (down, up) = match config.init_weights {
            BottleneckInit::Bert => (Fill::Normal { std: 0.02 }, Fill::Normal { std: 0.02 }),
            BottleneckInit::MamAdapter => (Fill::kaiming_uniform_sqrt5(hidden_size), Fill::ZEROS),
            BottleneckInit::Houlsby => (Fill::TruncatedNormal { std: 0.01 }, Fill::TruncatedNormal { std: 0.01 }),
        };
        let mut project = |size: [usize; 2], fill, position| {
            Ok::<_, BottleneckError>(if config.phm_layer {
                Projection::Phm(PhmLinear::new(config, size, position, init, device)?)
            } else {
                Projection::Linear(init.linear(size, fill, Some(Fill::ZEROS), device))
            })
        };
        let down_project = project([hidden_size, width], down, Position::Down)?;
        let up_project = project([width, hidden_size], up, Position::Up)?;
        let gate = config.use_gating.then(|| {
            let (weight, bias) = match config.init_weights {
                // With this initialization the reference keeps PyTorch's default for the gate.
                BottleneckInit::Houlsby => {
                    (Fill::kaiming_uniform_sqrt5(hidden_size), Fill::kaiming_uniform_sqrt5(hidden_size))
                }
                _ => (Fill::Normal { std: 0.02 }, Fill::ZEROS),
            };
            Gate::new(hidden_size, 1, weight, bias, init, device)
        });
        let (scaling, scale) = match config.scaling {
            Scaling::Constant(factor) => (factor, None),
            Scaling::Learned => (1.0, Some(init.param([1], Fill::ONES, device))),
            Scaling::Channel => (1.0, Some(init.param([hidden_size], Fill::ONES, device))),
        };
        Ok(Self {
            norm_before: config.ln_before.then(|| init.layer_norm(hidden_size, device)),
            down_project,
            up_project,
            scale,
            norm_after: config.ln_after.then(|| init.layer_norm(hidden_size, device)),
            gate,
            form: Form {
                non_linearity: config.non_linearity,
                is_parallel: config.is_parallel,
                scaling,
                original_ln_before: config.original_ln_before,
                original_ln_after: config.original_ln_after,
                residual_before_ln: config.residual_before_ln,
                adapter_residual_before_ln: config.adapter_residual_before_ln,
                dropout: config.dropout,
                stochastic_depth: config.stochastic_depth,
            },
        })
    }

    /// The adapted end of a sublayer: replaces `norm(hidden + input)`. `shared` is the result of
    /// [`shared_phm`](crate::shared_phm) for the configuration, `None` without `phm_layer`.
    ///
    /// # Shapes
    /// - hidden: the sublayer's output, `[batch, sequence, hidden]`
    /// - input: the sublayer's input (its residual), `[batch, sequence, hidden]`
    /// - output: `[batch, sequence, hidden]`
    ///
    /// # Panics
    /// As [`forward`](Self::forward).
    pub fn apply(
        &self,
        hidden: Tensor<3>,
        input: Tensor<3>,
        norm: Option<&dyn Norm>,
        shared: Option<&SharedPhm>,
        mode: Mode,
    ) -> Tensor<3> {
        let entry = self.enter(hidden.clone(), input.clone(), norm);
        let output = self.forward(entry.hidden, entry.residual, shared, mode);
        self.leave(output.hidden, hidden, input, norm)
    }

    /// Computes the bottleneck's input and the residual around it.
    pub fn enter(&self, hidden: Tensor<3>, input: Tensor<3>, norm: Option<&dyn Norm>) -> Entry {
        if self.form.is_parallel {
            return Entry { hidden: input.clone(), residual: input };
        }
        let before = hidden.clone();
        let (added, hidden) = if self.form.original_ln_before {
            let added = hidden + input;
            let normed = norm.map_or_else(|| added.clone(), |norm| norm.norm(added.clone()));
            (added, normed)
        } else {
            (hidden.clone(), hidden)
        };
        let residual = match self.form.residual_before_ln {
            ResidualBeforeLn::True => before,
            ResidualBeforeLn::False => hidden.clone(),
            ResidualBeforeLn::PostAdd => added,
        };
        Entry { hidden, residual }
    }

    /// Applies the bottleneck itself.
    ///
    /// # Shapes
    /// - hidden, residual: `[batch, sequence, hidden]`
    ///
    /// # Panics
    /// If the projections are PHM layers built for shared parts and `shared` lacks them.
    pub fn forward(
        &self,
        hidden: Tensor<3>,
        residual: Tensor<3>,
        shared: Option<&SharedPhm>,
        mode: Mode,
    ) -> BottleneckOutput {
        let gate = self.gate.as_ref().map(|gate| gate.forward(hidden.clone()));
        let normed = match &self.norm_before {
            Some(norm) => norm.forward(hidden),
            None => hidden,
        };
        let down = activate(self.form.non_linearity, self.down_project.forward(normed, shared));
        let up = mode.stochastic_depth(self.form.stochastic_depth, self.up_project.forward(down, shared));
        let up = match &self.scale {
            Some(scale) => up * scale.val().unsqueeze(),
            None if self.form.scaling == 1.0 => up,
            None => up * self.form.scaling,
        };
        let mut output = mode.dropout(self.form.dropout, up.clone());
        if let Some(gate) = &gate {
            output = output * gate.clone();
        }
        // The residual of a parallel adapter is the sublayer's own, added in `leave`.
        let sequential = !self.form.is_parallel;
        if sequential && self.form.adapter_residual_before_ln {
            output = output + residual.clone();
        }
        if let Some(norm) = &self.norm_after {
            output = norm.forward(output);
        }
        if sequential && !self.form.adapter_residual_before_ln {
            output = output + residual;
        }
        BottleneckOutput { hidden: output, up, gate }
    }

    /// The parameters that are frozen during training: the rules of PHM layers without `learn_phm`.
    pub fn frozen(&self) -> Vec<ParamId> {
        let mut frozen = self.down_project.frozen();
        frozen.extend(self.up_project.frozen());
        frozen
    }

    /// Returns to the model: adds the parallel output, and applies the model's residual and norm.
    ///
    /// # Shapes
    /// - adapted: the bottleneck's output; sublayer: the sublayer's output before any adapter; input: its input;
    ///   all `[batch, sequence, hidden]`
    pub fn leave(
        &self,
        adapted: Tensor<3>,
        sublayer: Tensor<3>,
        input: Tensor<3>,
        norm: Option<&dyn Norm>,
    ) -> Tensor<3> {
        let hidden = if self.form.is_parallel { sublayer + adapted } else { adapted };
        if !self.form.original_ln_after {
            return hidden;
        }
        let added = hidden + input;
        match norm {
            Some(norm) => norm.norm(added),
            None => added,
        }
    }
}

/// A bottleneck that cannot be built.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum BottleneckError {
    /// A map of reduction factors lacks a layer.
    #[error(
        "reduction_factor has no factor for layer {layer} and no default; it has factors for layers {named:?}: add a \
         'default', as in {{'0': 2, 'default': 16}}"
    )]
    NoReductionFactor {
        /// The layer without a factor.
        layer: usize,
        /// The layers that have one.
        named: Vec<usize>,
    },
    /// A factor that does not give a valid width.
    #[error("reduction_factor must be a finite number above 0, found {found} for layer {layer}")]
    BadReductionFactor {
        /// The layer.
        layer: usize,
        /// Its factor.
        found: f64,
    },
    /// `residual_before_ln = 'post_add'` without `original_ln_before`.
    #[error(
        "residual_before_ln='post_add' takes the residual after the model's own addition, which happens before the \
         adapter only with original_ln_before=True: set it, or use residual_before_ln=True or False"
    )]
    PostAddWithoutLayerNormBefore,
    /// An initialization that does not apply to PHM layers.
    #[error(
        "init_weights='{found}' applies to linear layers, but PHM layers (phm_layer=True) are initialized by \
         hypercomplex_nonlinearity: set init_weights='bert'"
    )]
    InitOfPhm {
        /// The initialization.
        found: BottleneckInit,
    },
    /// Weights shared between layers of different widths.
    #[error(
        "shared_W_phm=True gives all PHM layers the same weights, but reduction_factor differs by layer: \
         give one factor for all layers, or set shared_W_phm=False"
    )]
    SharedWidths,
    /// A PHM layer that cannot be built.
    #[error(transparent)]
    Phm(#[from] CompacterError),
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::module::Module;
    use burn::nn::LayerNormConfig;
    use burn::tensor::{Distribution, Tolerance};

    use super::*;

    fn adapter(config: &BottleneckConfig) -> Bottleneck {
        Bottleneck::new(config, 8, 0, &mut Init::from_seed(3), &Device::default()).unwrap()
    }

    fn random(seed: u64) -> Tensor<3> {
        let fill = Fill::Normal { std: 1.0 };
        Init::from_seed(seed).param([2, 3, 8], fill, &Device::default()).val()
    }

    #[test]
    fn a_new_parallel_adapter_changes_nothing() {
        let norm = LayerNormConfig::new(8).init(&Device::default());
        let (hidden, input) = (random(1), random(2));
        let plain = norm.forward(hidden.clone() + input.clone());
        let adapted = adapter(&BottleneckConfig::par_bn()).apply(hidden, input, Some(&norm), None, Mode::Inference);
        adapted.into_data().assert_approx_eq::<f32>(&plain.into_data(), Tolerance::absolute(1e-6));
    }

    #[test]
    fn parameters_are_counted_before_they_are_drawn() {
        let config = BottleneckConfig::seq_bn().with_reduction_factor(4.0).with_scaling(Scaling::Learned);
        let adapter = adapter(&config);
        assert_eq!(Module::num_params(&adapter), 8 * 2 + 2 + 2 * 8 + 8 + 1);
        assert!(!adapter.down_project.as_linear().unwrap().weight.is_initialized());
    }

    #[test]
    fn dropout_and_stochastic_depth_act_in_training_only() {
        let config = BottleneckConfig::seq_bn()
            .with_reduction_factor(1.0)
            .with_init_weights(BottleneckInit::Bert)
            .with_stochastic_depth(0.5)
            .with_dropout(0.5);
        let adapter = adapter(&config);
        let device = Device::default();
        device.seed(5);
        let hidden = Tensor::<3>::random([64, 3, 8], Distribution::Default, &device);
        let zeros = hidden.zeros_like();
        let rest = adapter.forward(hidden.clone(), zeros.clone(), None, Mode::Inference).hidden;
        let trained = adapter.forward(hidden, zeros, None, Mode::Training).hidden;
        assert!(rest.clone().equal_elem(0.0).float().mean().into_scalar::<f32>() < 0.01);
        // A row survives with probability 1/2, an element of it again with 1/2.
        let zero = trained.equal_elem(0.0).float().mean().into_scalar::<f32>();
        assert!((zero - 0.75).abs() < 0.1, "{zero}");
    }

    #[test]
    fn post_add_needs_the_norm_before() {
        let config = BottleneckConfig::double_seq_bn().with_residual_before_ln(ResidualBeforeLn::PostAdd);
        let error = Bottleneck::new(&config, 8, 0, &mut Init::from_seed(3), &Device::default()).unwrap_err();
        assert_eq!(error, BottleneckError::PostAddWithoutLayerNormBefore);
    }
}
