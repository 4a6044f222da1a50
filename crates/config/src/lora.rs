//! LoRA and the methods that the reference derives from it: (IA)³, VeRA, DoRA, DVoRA, MTL-LoRA.

use crate::macros::{builders, names};

/// How the trained weights are combined with the model's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompositionMode {
    /// Added, as in LoRA.
    Add,
    /// Multiplied, as in (IA)³. Needs `r = 1`.
    Scale,
}

/// Initialization of a new LoRA module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoraInit {
    /// `A` is Kaiming-uniform, `B` zero, so a new module changes nothing.
    Lora,
    /// Both normal with standard deviation 0.02.
    Bert,
    /// Both ones.
    Ia3,
    /// Both Kaiming-uniform (VeRA's frozen matrices).
    Vera,
}

/// The bias that is trained beside LoRA's matrices. Not in the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoraBias {
    /// No bias.
    None,
    /// A bias of the update, zero at first: `(alpha / r) · (A B x + bias)` is added.
    Update,
    /// The bias of each adapted matrix that has one. It starts as the model's, and replaces it.
    Base,
}

/// The task-specific matrix of MTL-LoRA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskMatrix {
    /// A diagonal, `r` parameters.
    SingularValues,
    /// A full matrix, `r × r`.
    Linear,
}

/// The keys that MTL-LoRA adds to LoRA's (Yang et al., 2024).
#[derive(Debug, Clone, PartialEq)]
pub struct MtlLora {
    /// The number of up-projections.
    pub n_up_projection: usize,
    /// The form of the task-specific matrix.
    pub task_specific_matrix_type: TaskMatrix,
    /// Temperature of the softmax over up-projections.
    pub weights_sharpness: f64,
}

/// Low-rank adaptation (Hu et al., 2021) and derived methods. The fields have the names of the reference's
/// `LoRAConfig`.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraConfig {
    /// Adapt the attention matrices named in `attn_matrices`.
    pub selfattn_lora: bool,
    /// Adapt the first feed-forward matrix.
    pub intermediate_lora: bool,
    /// Adapt the second feed-forward matrix.
    pub output_lora: bool,
    /// Layers (from 0) that are not adapted.
    pub leave_out: Vec<usize>,
    /// The rank.
    pub r: usize,
    /// The update is multiplied by `alpha / r`.
    pub alpha: f64,
    /// Dropout on the input of the update.
    pub dropout: f64,
    /// Adapt the gate of gated feed-forward blocks, such as Llama's. Not in the reference, which has no adapter there.
    pub gate_lora: bool,
    /// The attention matrices to adapt: `q`, `k`, `v`, and `o`, the output projection, which the reference lacks.
    pub attn_matrices: Vec<String>,
    /// Add or scale.
    pub composition_mode: CompositionMode,
    /// Initialization of new weights.
    pub init_weights: LoraInit,
    /// Initialize every module of the adapter from this seed.
    pub init_weights_seed: Option<u64>,
    /// A trained gate per sequence, as in UniPELT. It replaces `alpha / r`.
    pub use_gating: bool,
    /// Decompose the weight into magnitude and direction (DoRA).
    pub use_dora: bool,
    /// The bias that is trained, too. Not in the reference.
    pub bias: LoraBias,
    /// VeRA: initial value of the vector `d`.
    pub vera_d: Option<f64>,
    /// VeRA: initial value of the vector `b`.
    pub vera_b: Option<f64>,
    /// The data type of the parameters, by the reference's name (`float32`, …).
    pub dtype: Option<String>,
    /// The keys of MTL-LoRA; with them, `architecture` is `mtl_lora`.
    pub mtl: Option<MtlLora>,
}

names!(CompositionMode { Add = "add", Scale = "scale" });
names!(LoraInit { Lora = "lora", Bert = "bert", Ia3 = "ia3", Vera = "vera" });
names!(LoraBias { None = "none", Update = "update", Base = "base" });
names!(TaskMatrix { SingularValues = "singular_values", Linear = "linear" });

impl Default for MtlLora {
    fn default() -> Self {
        Self { n_up_projection: 1, task_specific_matrix_type: TaskMatrix::SingularValues, weights_sharpness: 0.05 }
    }
}

builders!(MtlLora {
    with_n_up_projection n_up_projection: plain (usize);
    with_task_specific_matrix_type task_specific_matrix_type: plain (TaskMatrix);
    with_weights_sharpness weights_sharpness: plain (f64);
});

impl Default for LoraConfig {
    /// [`LoraConfig::lora`].
    fn default() -> Self {
        Self::lora()
    }
}

impl LoraConfig {
    /// `lora`: rank 8 on the queries and values of self-attention (Hu et al., 2021).
    pub fn lora() -> Self {
        Self {
            selfattn_lora: true,
            intermediate_lora: false,
            output_lora: false,
            gate_lora: false,
            leave_out: Vec::new(),
            r: 8,
            alpha: 8.0,
            dropout: 0.0,
            attn_matrices: vec!["q".to_owned(), "v".to_owned()],
            composition_mode: CompositionMode::Add,
            init_weights: LoraInit::Lora,
            init_weights_seed: None,
            use_gating: false,
            use_dora: false,
            bias: LoraBias::None,
            vera_d: None,
            vera_b: None,
            dtype: None,
            mtl: None,
        }
    }

    /// [`lora`](Self::lora) of rank `r`, with `alpha = r`, so the update is not scaled.
    ///
    /// The configuration string `lora[r=16]` leaves `alpha` at 8, as in the reference.
    pub fn new(r: usize) -> Self {
        Self { r, alpha: r as f64, ..Self::lora() }
    }

    /// `ia3`: trained factors on keys, values and the first feed-forward matrix (Liu et al., 2022).
    pub fn ia3() -> Self {
        Self {
            intermediate_lora: true,
            r: 1,
            alpha: 1.0,
            attn_matrices: vec!["k".to_owned(), "v".to_owned()],
            composition_mode: CompositionMode::Scale,
            init_weights: LoraInit::Ia3,
            ..Self::lora()
        }
    }

    /// `vera`: frozen random matrices shared by all layers, and two trained vectors per matrix (Kopiczko et al., 2023).
    pub fn vera() -> Self {
        Self { vera_d: Some(0.1), vera_b: Some(0.0), init_weights: LoraInit::Vera, ..Self::lora() }
    }

    /// `dora`: LoRA on the direction of the weight, and a separately trained magnitude (Liu et al., 2024).
    pub fn dora() -> Self {
        Self { use_dora: true, ..Self::lora() }
    }

    /// `dvora`: [`dora`](Self::dora) with the direction adapted as in [`vera`](Self::vera).
    pub fn dvora() -> Self {
        Self { use_dora: true, ..Self::vera() }
    }

    /// `mtl_lora`: LoRA for several tasks at once (Yang et al., 2024).
    pub fn mtl_lora() -> Self {
        Self { mtl: Some(MtlLora::default()), ..Self::lora() }
    }

    /// Sets [`attn_matrices`](Self#structfield.attn_matrices).
    #[must_use]
    pub fn with_attn_matrices<S: Into<String>>(mut self, matrices: impl IntoIterator<Item = S>) -> Self {
        self.attn_matrices = matrices.into_iter().map(Into::into).collect();
        self
    }

    /// Sets [`dtype`](Self#structfield.dtype), one of [`DTYPES`](crate::DTYPES).
    #[must_use]
    pub fn with_dtype(mut self, dtype: impl Into<String>) -> Self {
        self.dtype = Some(dtype.into());
        self
    }
}

builders!(LoraConfig {
    with_selfattn_lora selfattn_lora: plain (bool);
    with_intermediate_lora intermediate_lora: plain (bool);
    with_output_lora output_lora: plain (bool);
    with_gate_lora gate_lora: plain (bool);
    with_leave_out leave_out: into (Vec<usize>);
    with_r r: plain (usize);
    with_alpha alpha: into (f64);
    with_dropout dropout: plain (f64);
    with_composition_mode composition_mode: plain (CompositionMode);
    with_init_weights init_weights: plain (LoraInit);
    with_init_weights_seed init_weights_seed: into (Option<u64>);
    with_use_gating use_gating: plain (bool);
    with_use_dora use_dora: plain (bool);
    with_bias bias: plain (LoraBias);
    with_vera_d vera_d: into (Option<f64>);
    with_vera_b vera_b: into (Option<f64>);
    with_mtl mtl: into (Option<MtlLora>);
});
