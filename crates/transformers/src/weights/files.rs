//! Parameters read from files.

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use burn_adapters_core::{BlockRows, Fill, has_own_kernels, quantized_weight};
use burn_adapters_ops::QuantizedMatrix;
use burn_adapters_tensors::{BlockType, FloatType, transposed};
use bytes::Bytes;

use super::source::Source;
use super::{MatrixFormats, WeightFormat, Weights};
use crate::LoadError;
use crate::plan::{Part, Storage};

/// Parameters read from files that were checked against [`Listed`](super::Listed) ones, one after the other: beside the model
/// no more than one of them is in memory.
pub(crate) struct FromFiles<'a> {
    weights: Weights,
    device: &'a Device,
    /// The number format of matrices.
    format: WeightFormat,
    /// That of tables which are not in blocks.
    of_tables: FloatType,
    formats: MatrixFormats,
}

impl<'a> FromFiles<'a> {
    /// `outputs_words` says whether the table of word embeddings is the matrix of a language model's output layer, which has
    /// the format of matrices.
    pub(crate) fn new(weights: Weights, device: &'a Device, format: WeightFormat, outputs_words: bool) -> Self {
        let of_tables = if outputs_words { format.float_type() } else { FloatType::F32 };
        Self { weights, device, format, of_tables, formats: MatrixFormats::default() }
    }

    /// The formats of the matrices that were read.
    pub(crate) fn formats(self) -> MatrixFormats {
        self.formats
    }

    /// A parameter as the model has it.
    fn dense<const D: usize>(
        &self,
        name: &str,
        shape: [usize; D],
        storage: Option<Storage>,
        float: FloatType,
    ) -> Result<TensorData, LoadError> {
        let data = self.weights.read(name, float)?;
        let (Some(storage), Some(outputs)) = (storage, shape.last()) else { return Ok(data) };
        let data = if D == 1 || storage.input_first { data } else { transposed(data) };
        let dtype = data.dtype();
        Ok(match storage.part {
            // The outputs are the last dimension. A copy of them: the tensor of all parts is not kept.
            Some(Part { index, of, heads }) => {
                let all = Tensor::<D>::from_data(data, (self.device, dtype));
                let inputs = shape.iter().rev().skip(1).product();
                let by_head = all.reshape([inputs, heads, of, outputs / heads.max(1)]);
                by_head.narrow(2, index, 1).reshape(shape).into_data()
            }
            None => data,
        })
    }

    fn to_param<const D: usize>(&self, data: TensorData) -> Param<Tensor<D>> {
        let dtype = data.dtype();
        Param::from_tensor(Tensor::from_data(data, (self.device, dtype)))
    }

    /// A matrix in blocks, if the model keeps it so: those of its file, or blocks of type `made`. `shape` is that of its
    /// rows, `storage` how files store it if it is the weight of a linear layer.
    fn blocks(
        &mut self,
        name: &str,
        shape: [usize; 2],
        storage: Option<Storage>,
        made: Option<BlockType>,
    ) -> Result<Option<QuantizedMatrix>, LoadError> {
        let failed = |source| LoadError::Quantize { weight: name.to_owned(), source };
        let is_straight = storage.is_none_or(|storage| storage == Storage::default());
        if let Some(kind) = self.weights.block_type(name)?
            && self.has_rows_of(name, storage)?
            && self.format.keeps(kind, self.device)
        {
            let (mut blocks, is_mapped) = self.weights.read_blocks(name)?;
            if let Some(Part { index, of, .. }) = storage.and_then(|storage| storage.part) {
                let part = blocks.len() / of.max(1);
                let part = blocks.slice((index * part).min(blocks.len())..((index + 1) * part).min(blocks.len()));
                // The other parts do not stay in memory.
                blocks = if is_mapped { part } else { Bytes::copy_from_slice(&part) };
            }
            self.formats.mapped += if is_mapped { blocks.len() as u64 } else { 0 };
            return QuantizedMatrix::shared(kind, shape, blocks).map(Some).map_err(failed);
        }
        let Some(kind) = made else { return Ok(None) };
        if !shape[1].is_multiple_of(kind.elements()) {
            self.formats.not_quantized.push(name.to_owned());
            return Ok(None);
        }
        let data = match is_straight {
            true => self.weights.read(name, FloatType::F32)?,
            false => transposed(self.dense(name, [shape[1], shape[0]], storage, FloatType::F32)?),
        };
        let values = data.as_slice::<f32>().unwrap_or_default();
        QuantizedMatrix::quantize(kind, shape, values).map(Some).map_err(failed)
    }

    /// Whether neighboring rows of a matrix in its file are those of the model's matrix, which are its outputs.
    fn has_rows_of(&self, name: &str, storage: Option<Storage>) -> Result<bool, LoadError> {
        let Some(Storage { input_first, part }) = storage else { return Ok(true) };
        Ok(input_first == self.weights.is_transposed(name)? && part.is_none_or(|part| part.heads == 1))
    }

    /// The parameter of a matrix in blocks.
    fn quantized(&mut self, matrix: QuantizedMatrix, rows: BlockRows) -> Result<Param<Tensor<2>>, LoadError> {
        if has_own_kernels(self.device) {
            self.formats.add(matrix.kind(), matrix.blocks().len());
        } else {
            self.formats.add("f32", 4 * matrix.shape().into_iter().product::<usize>());
            self.formats.dequantized = true;
        }
        Ok(quantized_weight(matrix, rows, self.device)?)
    }

    /// A matrix that is not in blocks.
    fn plain(
        &mut self,
        name: &str,
        shape: [usize; 2],
        storage: Option<Storage>,
        float: FloatType,
    ) -> Result<Param<Tensor<2>>, LoadError> {
        let data = self.dense(name, shape, storage, float)?;
        self.formats.add(if float == FloatType::Bf16 { "bf16" } else { "f32" }, data.as_bytes().len());
        let is_stored_so = self.format == WeightFormat::AsStored && !has_own_kernels(self.device);
        self.formats.dequantized |= is_stored_so && self.weights.block_type(name)?.is_some_and(|kind| !kind.is_plain());
        Ok(self.to_param(data))
    }
}

impl Source for FromFiles<'_> {
    fn device(&self) -> &Device {
        self.device
    }

    fn param<const D: usize>(
        &mut self,
        name: &str,
        shape: [usize; D],
        storage: Option<Storage>,
        _fill: Fill,
    ) -> Result<Param<Tensor<D>>, LoadError> {
        Ok(self.to_param(self.dense(name, shape, storage, FloatType::F32)?))
    }

    fn matrix(
        &mut self,
        name: &str,
        size: [usize; 2],
        storage: Storage,
        _fill: Fill,
    ) -> Result<Param<Tensor<2>>, LoadError> {
        let [d_input, d_output] = size;
        match self.blocks(name, [d_output, d_input], Some(storage), self.format.of_linear())? {
            Some(matrix) => self.quantized(matrix, BlockRows::Outputs),
            None => self.plain(name, size, Some(storage), self.format.float_type()),
        }
    }

    fn table(&mut self, name: &str, shape: [usize; 2], _fill: Fill) -> Result<Param<Tensor<2>>, LoadError> {
        match self.blocks(name, shape, None, self.format.of_words())? {
            Some(matrix) => self.quantized(matrix, BlockRows::Rows),
            None => self.plain(name, shape, None, self.of_tables),
        }
    }
}
