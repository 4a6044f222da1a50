//! Gradient checkpointing by layer.

use burn::module::Module;
use burn::tensor::{Gradients, Tensor};
use burn_adapters_core::{Output, Site, StackKind};

use crate::pass::{Extent, OneStep, Pass, StepInput, StepOutput};
use crate::{AdapterBank, BankError, BaseError, BaseModel, Setup, TokenBatch};

/// A pass in training that keeps only the input of each layer, instead of all values that the backward pass needs. The
/// [backward pass](Self::backward) computes each layer again (gradient checkpointing, Chen et al., 2016,
/// <https://arxiv.org/abs/1604.06174>). The gradients are those of an ordinary pass; it takes one more forward pass, and
/// the memory of one layer instead of that of all.
#[derive(Debug)]
pub struct RecordedPass {
    batch: TokenBatch,
    setup: Setup,
    seed: u64,
    inputs: Vec<StepInput>,
    output: Output,
}

impl RecordedPass {
    /// Runs the model for the heads of a setup in training. `seed` determines all dropout.
    ///
    /// # Errors
    /// As [`AdapterBank::hooks`] and [`Forward::forward`](crate::Forward::forward).
    pub fn new(
        model: &(impl BaseModel + ?Sized),
        bank: &AdapterBank,
        setup: &Setup,
        batch: TokenBatch,
        seed: u64,
    ) -> Result<Self, BaseError> {
        let mut inputs = Vec::new();
        // Without autodiff: Burn keeps a graph until a backward pass through it.
        let bank = bank.valid();
        model.device().seed(seed);
        let hooks = bank.hooks(setup)?;
        let pass = Pass::begin(&batch, &hooks, bank.reads(setup), model, None)?;
        let mut pass = pass.with_extent(Extent::Recording { seed, inputs: &mut inputs });
        model.run(&mut pass)?;
        let output = pass.finish()?;
        let output = Output { hidden: leaf(output.hidden), pooled: output.pooled.map(leaf), ..output };
        Ok(Self { batch, setup: setup.clone(), seed, inputs, output })
    }

    /// The output of the model. Its tensors are leaves of the graph: the heads and the loss are computed from them.
    pub fn output(&self) -> &Output {
        &self.output
    }

    /// Continues the backward pass of a loss below the output, layer by layer from the last one. `collect` receives the
    /// gradients of the parameters that each layer has, to be added up.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn backward(
        self,
        model: &(impl BaseModel + ?Sized),
        bank: &AdapterBank,
        gradients: &mut Gradients,
        mut collect: impl FnMut(Gradients),
    ) -> Result<(), BaseError> {
        let Self { batch, setup, seed, inputs, output } = self;
        let Some(first) = first_step(bank, &setup, &inputs)? else { return Ok(()) };
        let mut of_output = OfStep {
            hidden: output.hidden.grad_remove(gradients),
            pooled: output.pooled.as_ref().and_then(|pooled| pooled.grad_remove(gradients)),
        };
        drop(output);
        let (mut of_memory, mut is_decoding): (Option<Tensor<3>>, bool) = (None, false);
        for (step, input) in inputs.into_iter().enumerate().skip(first).rev() {
            if std::mem::replace(&mut is_decoding, input.memory.is_some()) && !is_decoding {
                // The encoder ends here: the decoder's layers have read its states.
                of_output = OfStep::hidden(of_memory.take());
            }
            model.device().seed(seed);
            let hooks = bank.hooks(&setup)?;
            let input = input.map(|states| if step > first { leaf(states) } else { states });
            let leaves = input.clone();
            let only = OneStep { seed, step, input: (step > 0).then_some(input), output: None };
            let extent = Extent::Step(Box::new(only));
            let mut pass = Pass::begin(&batch, &hooks, bank.reads(&setup), model, None)?.with_extent(extent);
            model.run(&mut pass)?;
            let weighted = of_output.weighted(pass.finish_step()?);
            let Some(weighted) = weighted.filter(Tensor::is_tracked) else {
                of_output = OfStep::hidden(None);
                continue;
            };
            let mut found = weighted.backward();
            of_output = OfStep::hidden(gradient(&leaves.hidden, &mut found));
            let further = leaves.memory.as_ref().and_then(|memory| gradient(memory.states(), &mut found));
            of_memory = match (of_memory, further) {
                (Some(sum), Some(further)) => Some(sum + further),
                (sum, further) => sum.or(further),
            };
            collect(found);
        }
        Ok(())
    }
}

/// The gradients of what a step computes; without them, the loss does not depend on it.
struct OfStep {
    hidden: Option<Tensor<3>>,
    pooled: Option<Tensor<2>>,
}

impl OfStep {
    fn hidden(hidden: Option<Tensor<3>>) -> Self {
        Self { hidden, pooled: None }
    }

    /// A number whose gradients are those of the loss.
    fn weighted(self, output: StepOutput) -> Option<Tensor<1>> {
        let hidden = self.hidden.map(|gradient| product(output.hidden, gradient));
        let pooled = output.pooled.zip(self.pooled).map(|(pooled, gradient)| product(pooled, gradient));
        match (hidden, pooled) {
            (Some(hidden), Some(pooled)) => Some(hidden + pooled),
            (hidden, pooled) => hidden.or(pooled),
        }
    }
}

/// The first step that an adapter of the setup acts in, or before it; `None` if there is no such adapter.
fn first_step(bank: &AdapterBank, setup: &Setup, inputs: &[StepInput]) -> Result<Option<usize>, BankError> {
    let mut sites: Vec<Site> = Vec::new();
    for name in setup.adapter_names() {
        let adapter = bank.adapter(name)?;
        if adapter.prompt.is_some() || adapter.invertible.is_some() {
            return Ok(Some(0));
        }
        sites.extend(adapter.sites());
    }
    let place = |site: &Site| -> (StackKind, usize) { (site.stack, site.layer) };
    let lowest = sites.iter().map(place).min();
    Ok(lowest.and_then(|lowest| inputs.iter().position(|input| place(&input.site) >= lowest)))
}

/// A leaf of a new graph.
fn leaf<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    tensor.autodiff().require_grad()
}

fn gradient(leaf: &Tensor<3>, gradients: &mut Gradients) -> Option<Tensor<3>> {
    if leaf.is_autodiff() { leaf.grad_remove(gradients) } else { None }
}

fn product<const D: usize>(output: Tensor<D>, gradient: Tensor<D>) -> Tensor<1> {
    let gradient = if output.is_autodiff() { gradient.autodiff() } else { gradient };
    (output * gradient).sum()
}
