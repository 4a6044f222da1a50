//! The part of a pass that is computed: all of it, or one step of its layers again.

use burn::tensor::{Device, Tensor};
use burn_adapters_core::{Output, Site, TokenSpan};

use super::memory::Memory;
use super::states::Form;

/// The part of a pass that is computed.
#[derive(Default)]
pub(crate) enum Extent<'p> {
    /// All of it.
    #[default]
    Whole,
    /// All of it; the inputs of the steps are recorded.
    Recording { seed: u64, inputs: &'p mut Vec<StepInput> },
    /// One step, with what comes before the first step or after the last one of its stack.
    Step(Box<OneStep>),
}

/// The only step of a pass.
pub(crate) struct OneStep {
    pub(crate) seed: u64,
    pub(crate) step: usize,
    /// Its input, until it is computed; of the first step, `None`.
    pub(crate) input: Option<StepInput>,
    /// Its output: `[rows, positions, hidden]`.
    pub(crate) output: Option<Tensor<3>>,
}

/// The input of a step, from which it can be computed again.
#[derive(Debug, Clone)]
pub(crate) struct StepInput {
    pub(crate) site: Site,
    pub(crate) hidden: Tensor<3>,
    pub(crate) memory: Option<Memory>,
    pub(super) tokens: Vec<TokenSpan>,
    /// The length of the padded sequences, if the states are packed.
    pub(super) packed: Option<usize>,
}

/// What a single step computes: hidden states, `[rows, positions, hidden]`, and after the last one the pooled output.
pub(crate) struct StepOutput {
    pub(crate) hidden: Tensor<3>,
    pub(crate) pooled: Option<Tensor<2>>,
}

impl From<Output> for StepOutput {
    fn from(Output { hidden, pooled, .. }: Output) -> Self {
        Self { hidden, pooled }
    }
}

impl StepInput {
    /// Applies a function to the tensors that earlier steps computed.
    pub(crate) fn map(self, function: impl Fn(Tensor<3>) -> Tensor<3>) -> Self {
        Self { hidden: function(self.hidden), memory: self.memory.map(|memory| memory.map(&function)), ..self }
    }
}

impl Extent<'_> {
    /// Whether the pass computes this step.
    pub(super) fn has(&self, step: usize) -> bool {
        !matches!(self, Self::Step(only) if only.step != step)
    }

    /// Whether the pass begins with the input of a later step.
    pub(super) fn begins_later(&self) -> bool {
        matches!(self, Self::Step(only) if only.step > 0)
    }

    /// The recorded input, if one of the steps `range` is the one to compute.
    pub(super) fn take_input(&mut self, range: std::ops::Range<usize>) -> Option<StepInput> {
        match self {
            Self::Step(only) if range.contains(&only.step) => only.input.take(),
            _ => None,
        }
    }

    /// Before a step: makes its random numbers the same in both computations.
    pub(super) fn seed(&self, step: usize, device: &Device) {
        let seed = match self {
            Self::Whole => None,
            Self::Recording { seed, .. } => Some(*seed),
            Self::Step(only) => Some(only.seed),
        };
        if let Some(seed) = seed {
            device.seed(seed.wrapping_add((step as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)));
        }
    }

    /// Records the input of a step.
    pub(super) fn record(
        &mut self,
        site: Site,
        hidden: &Tensor<3>,
        tokens: &[TokenSpan],
        form: &Form<'_>,
        memory: Option<&Memory>,
    ) {
        let Self::Recording { inputs, .. } = self else { return };
        inputs.push(StepInput {
            site,
            hidden: hidden.clone(),
            memory: memory.cloned(),
            tokens: tokens.to_vec(),
            packed: matches!(form, Form::Packed(_)).then(|| form.sequence(hidden)),
        });
    }
}
