//! Plans of single modules: tables, linear layers, norms.

/// A table of embeddings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TablePlan {
    pub(crate) name: &'static str,
    /// `[rows, width]`.
    pub(crate) shape: [usize; 2],
}

/// A linear layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LinearPlan {
    pub(crate) name: &'static str,
    /// `[d_input, d_output]`.
    pub(crate) size: [usize; 2],
    pub(crate) bias: bool,
    pub(crate) storage: Storage,
}

/// How files store a linear layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Storage {
    /// Whether the weight is `[input, output]` there; usually it is `[output, input]`.
    pub(crate) input_first: bool,
    /// The part of the outputs of a fused layer.
    pub(crate) part: Option<Part>,
}

/// One of several linear layers of equal size that files store as one, by their outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) index: usize,
    pub(crate) of: usize,
    /// The number of heads by which the outputs are interleaved: those of the first head of each layer, then those of the
    /// second. 1 for one layer after the other.
    pub(crate) heads: usize,
}

impl Part {
    /// Layers that are stored one after the other.
    pub(crate) fn new(index: usize, of: usize) -> Self {
        Self { index, of, heads: 1 }
    }
}

impl Storage {
    /// The number of layers that the stored one consists of.
    pub(crate) fn parts(self) -> usize {
        self.part.map_or(1, |part| part.of)
    }

    /// The stored shape of a weight of `[input, output]`, or of a bias of `[output]`.
    pub(crate) fn shape(self, shape: &[usize]) -> Vec<usize> {
        let mut shape = shape.to_vec();
        if let Some(outputs) = shape.last_mut() {
            *outputs = outputs.saturating_mul(self.parts());
        }
        if !self.input_first {
            shape.reverse();
        }
        shape
    }
}

/// A norm.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NormPlan {
    pub(crate) kind: NormKind,
    pub(crate) name: &'static str,
    pub(crate) width: usize,
    pub(crate) epsilon: f64,
}

/// The kinds of norms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NormKind {
    /// Layer norm (Ba et al., 2016), with a bias.
    Layer,
    /// Layer norm without a bias.
    LayerWithoutBias,
    /// RMS norm (Zhang and Sennrich, 2019).
    Rms,
    /// RMS norm whose weights are added to 1.
    RmsFromOne,
}

impl TablePlan {
    pub(crate) fn new(name: &'static str, rows: usize, width: usize) -> Self {
        Self { name, shape: [rows, width] }
    }
}

impl LinearPlan {
    pub(crate) fn new(name: &'static str, d_input: usize, d_output: usize) -> Self {
        Self { name, size: [d_input, d_output], bias: true, storage: Storage::default() }
    }

    /// Sets how files store the layer.
    pub(crate) fn stored(self, storage: Storage) -> Self {
        Self { storage, ..self }
    }

    /// Sets whether the layer has a bias.
    pub(crate) fn with_bias(self, bias: bool) -> Self {
        Self { bias, ..self }
    }
}

impl NormPlan {
    pub(crate) fn new(name: &'static str, width: usize, epsilon: f64) -> Self {
        Self { kind: NormKind::Layer, name, width, epsilon }
    }

    /// An RMS norm.
    pub(crate) fn rms(name: &'static str, width: usize, epsilon: f64) -> Self {
        Self { kind: NormKind::Rms, name, width, epsilon }
    }
}
