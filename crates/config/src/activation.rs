//! The names of activations in configurations.

use serde::{Deserialize, Serialize};

macro_rules! activations {
    ($($(#[$doc:meta])* $variant:ident = $name:literal),* $(,)?) => {
        /// An activation, with its name in the reference (and in Hugging Face's `transformers`).
        ///
        /// Some names denote the same function (`swish` and `silu`). They are distinct values, so that a configuration
        /// is written back as it was read.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Activation {
            $($(#[$doc])* #[serde(rename = $name)] $variant),*
        }

        impl Activation {
            /// Every activation, in alphabetical order of the names.
            pub const ALL: &'static [Activation] = &[$(Activation::$variant),*];

            /// The name in configurations.
            pub fn name(self) -> &'static str {
                match self { $(Activation::$variant => $name),* }
            }
        }
    };
}

activations! {
    /// `0.5 x (1 + erf(x / √2))`.
    Gelu = "gelu",
    /// GELU clipped to `[-10, 10]`.
    Gelu10 = "gelu_10",
    /// The tanh approximation with a fitted constant.
    GeluAccurate = "gelu_accurate",
    /// The tanh approximation in FastBERT's form.
    GeluFast = "gelu_fast",
    /// The tanh approximation in GPT's form.
    GeluNew = "gelu_new",
    /// The same as `gelu`.
    GeluPython = "gelu_python",
    /// The same as `gelu_pytorch_tanh`.
    GeluPythonTanh = "gelu_python_tanh",
    /// The tanh approximation.
    GeluPytorchTanh = "gelu_pytorch_tanh",
    /// The Laplace activation of MEGA.
    Laplace = "laplace",
    /// Leaky ReLU with slope 0.01.
    LeakyRelu = "leaky_relu",
    /// The same as `leaky_relu` (the reference's own name).
    Leakyrelu = "leakyrelu",
    /// The identity.
    Linear = "linear",
    /// `x tanh(softplus(x))`.
    Mish = "mish",
    /// `x σ(1.702 x)`.
    QuickGelu = "quick_gelu",
    /// `max(0, x)`.
    Relu = "relu",
    /// `max(0, x)²`.
    Relu2 = "relu2",
    /// `min(max(0, x), 6)`.
    Relu6 = "relu6",
    /// `σ(x)`.
    Sigmoid = "sigmoid",
    /// `x σ(x)`.
    Silu = "silu",
    /// The same as `silu`.
    Swish = "swish",
    /// `tanh(x)`.
    Tanh = "tanh",
}

impl Activation {
    /// The activation with this name; as in the reference, case is ignored.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.to_lowercase();
        Self::ALL.iter().copied().find(|a| a.name() == name)
    }
}

impl std::fmt::Display for Activation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
