//! Errors of loading, saving and running models.

use std::path::PathBuf;

use burn_adapters_core::{Bf16Error, QuantizedWeightError};
use burn_adapters_files::{FileError, FolderKind, SaveError};
use burn_adapters_model::BankError;
use burn_adapters_ops::QuantizedMatrixError;
use burn_adapters_tensors::{Mismatch, NotFinite, TensorFileError};
use thiserror::Error;

use crate::ModelConfig;

/// A `config.json` that does not describe a supported model.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ModelConfigError {
    /// The file cannot be read.
    #[error("cannot read {file}: {message}; a model folder needs its config.json")]
    Unreadable {
        /// The file.
        file: String,
        /// The system's message.
        message: String,
    },
    /// A GGUF file that cannot be read.
    #[error("{message}")]
    Gguf {
        /// What is wrong with it.
        message: String,
    },
    /// A folder that does not hold a model.
    #[error(
        "{file} is not there: {} holds {found}, not a model; give the folder of its base model as the model{}",
        dir.display(),
        advice(found)
    )]
    OtherKind {
        /// The file that is missing.
        file: String,
        /// The folder.
        dir: PathBuf,
        /// Its contents.
        found: FolderKind,
    },
    /// Not JSON.
    #[error("{file} is not JSON: {message}")]
    NotJson {
        /// The file.
        file: String,
        /// The parser's message, with line and column.
        message: String,
    },
    /// JSON, but not an object.
    #[error("{file}: expected an object, found {found}")]
    NotAnObject {
        /// The file.
        file: String,
        /// The value that was found.
        found: &'static str,
    },
    /// A required key is missing.
    #[error("{file}: the key `{key}` is missing")]
    MissingKey {
        /// The file.
        file: String,
        /// The key.
        key: &'static str,
    },
    /// A value of the wrong type or out of range.
    #[error("{file}: `{key}`: expected {expected}, found {found}")]
    WrongType {
        /// The file.
        file: String,
        /// The key.
        key: &'static str,
        /// The expected values.
        expected: &'static str,
        /// The value.
        found: String,
    },
    /// A valid value that is not supported.
    #[error("{file}: `{key}` is {found}, which is not supported; supported: {supported}")]
    Unsupported {
        /// The file.
        file: String,
        /// The key.
        key: &'static str,
        /// The value.
        found: String,
        /// The supported values.
        supported: String,
    },
    /// A family of models that is not supported.
    #[error("{file}: model_type \"{found}\" is not supported; supported: {}", supported_types())]
    UnknownModelType {
        /// The file.
        file: String,
        /// The `model_type`.
        found: String,
    },
    /// Values that contradict each other.
    #[error("{file}: {reason}")]
    Inconsistent {
        /// The file.
        file: String,
        /// The contradiction.
        reason: String,
    },
}

fn advice(found: &FolderKind) -> &'static str {
    match found {
        FolderKind::Peft { .. } => "; folders of PEFT cannot be read yet",
        FolderKind::Adapter => ", and this one as the adapter",
        FolderKind::Fusion => ", and this one as the fusion",
        FolderKind::Head => ", and this one as the head",
        FolderKind::Setup => ", and this one as the setup",
        _ => "",
    }
}

fn supported_types() -> String {
    ModelConfig::supported().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

/// A model that cannot be loaded.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The device has no bf16 for frozen weights.
    #[error(transparent)]
    Bf16(#[from] Bf16Error),
    /// Quantized weights on a device where weights are trained.
    #[error(transparent)]
    Quantized(#[from] QuantizedWeightError),
    /// A weight that cannot be quantized.
    #[error("the weight `{weight}` cannot be kept quantized: {source}; load the model in f32")]
    Quantize {
        /// The weight.
        weight: String,
        /// The reason.
        source: QuantizedMatrixError,
    },
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ModelConfigError),
    /// A GGUF file that is mapped into memory for nothing.
    #[error("{} would be mapped into memory for nothing: weights stay in the file if they are kept in its blocks, on a \
        device with kernels for them (flex); load it without a mapping", path.display())]
    NotMapped {
        /// The file.
        path: PathBuf,
    },
    /// A folder without weights.
    #[error("{} holds no weights: expected one of {}", dir.display(), expected.join(", "))]
    NoWeights {
        /// The folder.
        dir: PathBuf,
        /// The expected files.
        expected: Vec<&'static str>,
    },
    /// A file that cannot be read.
    #[error("cannot read {}: {message}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The system's message.
        message: String,
    },
    /// A broken file, or one whose contents do not match its name.
    #[error("{} is broken: {message}; fetch it again", file.display())]
    Broken {
        /// The file.
        file: PathBuf,
        /// The problem.
        message: String,
    },
    /// A tensor that does not hold floating point numbers.
    #[error("{}: the tensor `{tensor}` holds {found}; expected f32, f16, bf16 or f64", file.display())]
    ElementType {
        /// The file.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// The type of its elements.
        found: String,
    },
    /// A tensor with elements that are NaN or infinite, or become so in f32.
    #[error("{}: the tensor `{tensor}` cannot be used: {found}; the model is damaged: fetch or save it again",
        file.display())]
    NotFinite {
        /// The file.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// The elements that were found.
        found: NotFinite,
    },
    /// An encoder and a decoder that have a weight in common, but not in their files.
    #[error("{}: `{encoder}` and `{decoder}` differ, but config.json has `tie_encoder_decoder`; set it to false, or save the \
        model again", dir.display())]
    NotTied {
        /// The folder.
        dir: PathBuf,
        /// The tensor of the encoder.
        encoder: String,
        /// The tensor of the decoder.
        decoder: String,
    },
    /// Two tensors for the same weight.
    #[error("{}: `{first}` and `{second}` are both the weight `{weight}`", file.display())]
    Duplicate {
        /// The file of the second.
        file: PathBuf,
        /// The weight.
        weight: String,
        /// A tensor's name.
        first: String,
        /// Another tensor's name.
        second: String,
    },
    /// A folder of a model that has no modules for languages.
    #[error("{} holds no modules for languages: a model of type \"{model_type}\" has none", dir.display())]
    NoLanguages {
        /// The folder.
        dir: PathBuf,
        /// The `model_type`.
        model_type: &'static str,
    },
    /// A module for a language that cannot be added to a bank.
    #[error(transparent)]
    Language(#[from] Box<BankError>),
    /// The weights do not match the model that `config.json` describes.
    #[error("the weights in {} do not match its config.json: {mismatch}", dir.display())]
    Mismatch {
        /// The folder.
        dir: PathBuf,
        /// The differences.
        mismatch: Box<Mismatch>,
    },
}

impl From<TensorFileError> for LoadError {
    fn from(error: TensorFileError) -> Self {
        match error {
            TensorFileError::File(FileError { path, kind, .. }) => {
                Self::Unreadable { file: path, message: kind.to_string() }
            }
            TensorFileError::Damaged { path, reason } => Self::Broken { file: path, message: reason },
            TensorFileError::DataType { path, tensor, found } => Self::ElementType { file: path, tensor, found },
            TensorFileError::NotFinite { path, tensor, found } => Self::NotFinite { file: path, tensor, found },
            other => Self::Broken { file: PathBuf::new(), message: other.to_string() },
        }
    }
}

/// A model that cannot be written.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum ModelSaveError {
    /// The files that the model was read from.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The new file.
    #[error("cannot write {}: {message}", file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// The system's message.
        message: String,
    },
    /// A model of an architecture that GGUF files are not written of.
    #[error(
        "models of the type {model_type} cannot be written as a GGUF file: those of {} can; write a Hugging Face folder instead",
        crate::families::ARCHITECTURES.map(|known| known.model_type).join(", ")
    )]
    NoGguf {
        /// The type.
        model_type: &'static str,
    },
    /// A configuration or tokenizer that cannot be written as the metadata of a GGUF file.
    #[error("{} cannot be written as a GGUF file: {reason}", path.display())]
    GgufMetadata {
        /// The file or folder.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// A model that was read from a GGUF file.
    #[error("{}: weights cannot be written as those of a GGUF file; give the model as a Hugging Face folder", file.display())]
    Gguf {
        /// The file.
        file: PathBuf,
    },
    /// An encoder and a decoder that no longer have a weight in common.
    #[error(
        "`{encoder}` is no longer `{decoder}`, which its config.json asks for (`tie_encoder_decoder`): adapters changed \
        them; save the base model without `tie_encoder_decoder` first, and merge into that one"
    )]
    NotTied {
        /// The weight of the encoder.
        encoder: String,
        /// The weight of the decoder.
        decoder: String,
    },
    /// A model whose weights are quantized.
    #[error(
        "the weights of this model are quantized, that is rounded: load it in f32 (without quantization) to merge and save it"
    )]
    Quantized,
    /// The model's parameters could not be read from the device.
    #[error("reading the model's parameters from the device failed: {0}")]
    Device(String),
}

impl From<TensorFileError> for ModelSaveError {
    fn from(error: TensorFileError) -> Self {
        match error {
            TensorFileError::Save(SaveError::Io { path, source, .. }) => {
                Self::Write { file: path, message: source.to_string() }
            }
            TensorFileError::NotFinite { path, tensor, found } => {
                let message = format!("the tensor `{tensor}` cannot be used: {found}; look at the adapters' weights");
                Self::Write { file: path, message }
            }
            TensorFileError::Damaged { path, reason } => Self::Write { file: path, message: reason },
            other => Self::Write { file: PathBuf::new(), message: other.to_string() },
        }
    }
}

/// A tokenizer that cannot be built, or a text that it cannot encode.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// The model's configuration.
    #[error(transparent)]
    Config(#[from] ModelConfigError),
    /// A folder without a tokenizer.
    #[error("{} holds no tokenizer: expected {expected}", dir.display())]
    Missing {
        /// The folder.
        dir: PathBuf,
        /// The expected files.
        expected: String,
    },
    /// A tokenizer class that is not supported.
    #[error(
        "{}: the tokenizer class {class} is not supported; supported: {supported}. If the folder's tokenizer.json holds \
         all of it, PreTrainedTokenizerFast reads that alone",
        file.display()
    )]
    UnknownClass {
        /// The file that names it.
        file: PathBuf,
        /// The class.
        class: String,
        /// The classes that are supported.
        supported: String,
    },
    /// An added token whose id differs from its file.
    #[error(
        "{}: the token `{token}` has the id {id}, but {}: the files in the folder are not of one tokenizer",
        file.display(),
        found.map_or_else(|| "it was not added".to_owned(), |found| format!("{found} in the vocabulary"))
    )]
    TokenId {
        /// The file with the id.
        file: PathBuf,
        /// The token.
        token: String,
        /// Its id there.
        id: u32,
        /// Its id in the tokenizer.
        found: Option<u32>,
    },
    /// A file that cannot be read, or is broken.
    #[error("cannot build a tokenizer from {}: {message}", file.display())]
    Unusable {
        /// The file.
        file: PathBuf,
        /// The problem.
        message: String,
    },
    /// The text could not be encoded.
    #[error("text {index} cannot be encoded: {message}; the files of the model's tokenizer may be broken")]
    Encoding {
        /// The number of the text, from 0.
        index: usize,
        /// The tokenizer's message.
        message: String,
    },
    /// Tokens could not be decoded.
    #[error("tokens cannot be decoded: {message}; the files of the model's tokenizer may be broken")]
    Decoding {
        /// The tokenizer's message.
        message: String,
    },
    /// A token that the model does not have.
    #[error(
        "the tokenizer returned the token {id} (`{token}`), but the model has only {vocab_size} tokens: the tokenizer \
         belongs to another model"
    )]
    UnknownToken {
        /// The token's id.
        id: u32,
        /// The token.
        token: String,
        /// The size of the model's vocabulary.
        vocab_size: usize,
    },
    /// A token type (segment) that the model does not have.
    #[error(
        "the tokenizer returned the token type {token_type}, but the model has only {type_vocab_size}: the tokenizer \
         belongs to another model"
    )]
    UnknownTokenType {
        /// The type.
        token_type: u32,
        /// The number of types that the model has.
        type_vocab_size: usize,
    },
    /// A maximum length that leaves no room for text.
    #[error("a maximum length of {max_length} leaves no room for text beside the {special} special tokens")]
    MaxLength {
        /// The requested length.
        max_length: usize,
        /// The special tokens around each text.
        special: usize,
    },
}
