//! What a BERT takes: a batch of rows of tokens.

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

use crate::{ForwardError, Row};

/// A batch of rows of tokens, filled up to one length.
///
/// Tokens and types must be ones that the model has; [`Tokenizer::encode`](crate::Tokenizer::encode) checks it.
#[derive(Debug, Clone)]
pub struct BertInput {
    /// The tokens: `[batch, sequence]`.
    pub input_ids: Tensor<2, Int>,
    /// True where a position is padding: `[batch, sequence]`; none where nothing is.
    pub padding: Option<Tensor<2, Bool>>,
    /// The token types (segments): `[batch, sequence]`; none where all are 0.
    pub token_type_ids: Option<Tensor<2, Int>>,
    /// The positions: `[batch, sequence]`; none for those that the family counts itself.
    pub position_ids: Option<Tensor<2, Int>>,
}

/// A batch for any encoder of this crate.
pub type Batch = BertInput;

impl BertInput {
    /// A batch without padding, of token type 0.
    ///
    /// # Shapes
    /// - input_ids: `[batch, sequence]`
    pub fn new(input_ids: Tensor<2, Int>) -> Self {
        Self { input_ids, padding: None, token_type_ids: None, position_ids: None }
    }

    /// Sets the padding: true where a position is padding, `[batch, sequence]`.
    pub fn with_padding(mut self, padding: Tensor<2, Bool>) -> Self {
        self.padding = Some(padding);
        self
    }

    /// Sets the token types, `[batch, sequence]`.
    pub fn with_token_types(mut self, token_type_ids: Tensor<2, Int>) -> Self {
        self.token_type_ids = Some(token_type_ids);
        self
    }

    /// A batch of encoded rows, filled up with `pad_id` to the longest.
    ///
    /// ```
    /// use burn_adapters_transformers::{Batch, Row};
    ///
    /// let rows = [Row::new(vec![101, 7, 102]), Row::new(vec![101, 102])];
    /// let batch = Batch::from_rows(&rows, 0, &burn::tensor::Device::default());
    /// assert_eq!(batch.input_ids.dims(), [2, 3]);
    /// assert!(batch.padding.is_some() && batch.token_type_ids.is_none());
    /// ```
    pub fn from_rows<'a>(rows: impl IntoIterator<Item = &'a Row>, pad_id: u32, device: &Device) -> Self {
        let rows: Vec<&Row> = rows.into_iter().collect();
        let length = rows.iter().map(|row| row.ids.len()).max().unwrap_or(0);
        let shape = [rows.len(), length];
        let fill = |get: fn(&Row) -> &[u32], with: u32| -> Tensor<2, Int> {
            let values: Vec<i64> = rows
                .iter()
                .flat_map(|row| get(row).iter().copied().chain(std::iter::repeat(with)).take(length).map(i64::from))
                .collect();
            Tensor::from_data(TensorData::new(values, shape), device)
        };
        let padding = rows.iter().any(|row| row.ids.len() < length).then(|| {
            let values: Vec<bool> =
                rows.iter().flat_map(|row| (0..length).map(|position| position >= row.ids.len())).collect();
            Tensor::from_data(TensorData::new(values, shape), device)
        });
        let typed = rows.iter().any(|row| row.token_type_ids.iter().any(|id| *id != 0));
        Self {
            input_ids: fill(|row| &row.ids, pad_id),
            padding,
            token_type_ids: typed.then(|| fill(|row| &row.token_type_ids, 0)),
            position_ids: None,
        }
    }

    /// These rows, in this order.
    pub fn select(self, rows: &Tensor<1, Int>) -> Self {
        let ids = |tensor: Tensor<2, Int>| tensor.select(0, rows.clone());
        Self {
            input_ids: ids(self.input_ids),
            // Taken as numbers: on some backends selected booleans are of another type than others.
            padding: self.padding.map(|padding| padding.int().select(0, rows.clone()).not_equal_elem(0)),
            token_type_ids: self.token_type_ids.map(ids),
            position_ids: self.position_ids.map(ids),
        }
    }

    /// Moves the batch to a device.
    pub fn to_device(self, device: &Device) -> Self {
        Self {
            input_ids: self.input_ids.to_device(device),
            padding: self.padding.map(|tensor| tensor.to_device(device)),
            token_type_ids: self.token_type_ids.map(|tensor| tensor.to_device(device)),
            position_ids: self.position_ids.map(|tensor| tensor.to_device(device)),
        }
    }

    /// Refuses what the forward pass would panic on.
    pub(crate) fn check(&self, max: usize, device: &Device) -> Result<(), ForwardError> {
        let shape = self.input_ids.dims();
        if shape.contains(&0) {
            return Err(ForwardError::Empty { shape });
        }
        if shape[1] > max {
            return Err(ForwardError::TooLong { length: shape[1], max });
        }
        let others = [
            ("padding", self.padding.as_ref().map(|tensor| (tensor.dims(), tensor.device()))),
            ("token_type_ids", self.token_type_ids.as_ref().map(|tensor| (tensor.dims(), tensor.device()))),
            ("position_ids", self.position_ids.as_ref().map(|tensor| (tensor.dims(), tensor.device()))),
        ];
        let ids = ("input_ids", Some((shape, self.input_ids.device())));
        for (name, tensor) in [ids].into_iter().chain(others) {
            let Some((found, place)) = tensor else { continue };
            if found != shape {
                return Err(ForwardError::Shape { name, expected: shape, found });
            }
            if place != *device {
                let (expected, found) = (Box::new(device.clone()), Box::new(place));
                return Err(ForwardError::Device { name, expected, found });
            }
        }
        Ok(())
    }
}
