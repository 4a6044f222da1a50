//! Plans of output layers: from the last hidden states to a logit for each token of the vocabulary.

use burn_adapters_core::Activation;

use super::{LinearPlan, NormPlan};

/// The output layer of a language model. It is no part of the base model: checkpoints may lack it, and its parameters are
/// not counted.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OutputPlan {
    /// The path of its weights, with a dot after it, where the decoder is a model of its own: `decoder.`.
    pub(crate) scope: &'static str,
    /// The layers before it, in models that are trained by masked language modeling.
    pub(crate) transform: Option<TransformPlan>,
    /// Its matrix, `NAME.weight`; `None` if it is the table of word embeddings.
    pub(crate) matrix: Option<LinearPlan>,
    /// Its bias.
    pub(crate) bias: BiasPlan,
    /// The factor on the states before the matrix.
    pub(crate) scale: Option<f64>,
    /// The bound that logits are kept within.
    pub(crate) softcap: Option<f64>,
    /// Whether the inverse of an invertible adapter acts before the matrix.
    pub(crate) inverts: bool,
}

/// A linear layer, a non-linearity and a norm.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TransformPlan {
    pub(crate) dense: LinearPlan,
    pub(crate) activation: Activation,
    pub(crate) norm: NormPlan,
}

/// The bias of an output layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BiasPlan {
    None,
    /// `[vocabulary]`, under the first of these names that files have.
    Required(&'static [&'static str]),
    /// `[1, vocabulary]`, where files have it. It is never trained.
    Constant(&'static str),
}

impl OutputPlan {
    /// The table of word embeddings as the matrix.
    pub(crate) fn tied() -> Self {
        Self {
            scope: "",
            transform: None,
            matrix: None,
            bias: BiasPlan::None,
            scale: None,
            softcap: None,
            inverts: false,
        }
    }

    /// A matrix of its own, for a vocabulary and the width of its inputs, unless it is the table of word embeddings.
    pub(crate) fn new(name: &'static str, [vocabulary, hidden]: [usize; 2], is_tied: bool) -> Self {
        let matrix = (!is_tied).then(|| LinearPlan::new(name, hidden, vocabulary).with_bias(false));
        Self { matrix, ..Self::tied() }
    }

    /// That of masked language modeling: a linear layer from the hidden states to the width of the embeddings, a
    /// non-linearity, a norm, and a matrix with a bias.
    pub(crate) fn masked(self, transform: TransformPlan, bias: &'static [&'static str]) -> Self {
        Self { transform: Some(transform), bias: BiasPlan::Required(bias), ..self }
    }

    /// With the inverse of an invertible adapter before the matrix, as in the reference's interface models.
    pub(crate) fn inverting(self) -> Self {
        Self { inverts: true, ..self }
    }

    /// The plan without a constant bias.
    pub(crate) fn trained(mut self) -> Self {
        if let BiasPlan::Constant(_) = self.bias {
            self.bias = BiasPlan::None;
        }
        self
    }

    /// The plan for files that hold these names; `None` if they lack a part of it.
    pub(crate) fn in_files(mut self, has: impl Fn(&str) -> bool) -> Option<Self> {
        let has = |name: &str| has(&format!("{}{name}", self.scope));
        match &mut self.bias {
            BiasPlan::None => {}
            BiasPlan::Required(names) => {
                let found = names.iter().position(|name| has(name))?;
                *names = &names[found..=found];
            }
            BiasPlan::Constant(name) if has(name) => {}
            bias @ BiasPlan::Constant(_) => *bias = BiasPlan::None,
        }
        let linear = |plan: &LinearPlan| {
            has(&format!("{}.weight", plan.name)) && (!plan.bias || has(&format!("{}.bias", plan.name)))
        };
        let transform = |plan: &TransformPlan| linear(&plan.dense) && has(&format!("{}.weight", plan.norm.name));
        (self.matrix.as_ref().is_none_or(linear) && self.transform.as_ref().is_none_or(transform)).then_some(self)
    }
}
