//! Logits of the heads of adapters.

use burn::tensor::{Int, Tensor, TensorData};
use burn_adapters_core::Output;
use burn_adapters_model::{AdapterBank, Setup};

use crate::LogitsError;

/// The logits of the next token by the language-model heads of a setup, `[rows, vocabulary]`, of the states of the last
/// tokens, `[rows, hidden]`. In a routed batch, each row has the head of its own adapter.
///
/// # Errors
/// If a head does not fit the states, or a row has no head.
pub fn head_logits(bank: &AdapterBank, setup: &Setup, states: Tensor<2>) -> Result<Tensor<2>, LogitsError> {
    let [rows, _] = states.dims();
    let output = Output::new(states.unsqueeze_dim(1), vec![1; rows]);
    let heads = bank.logits(setup, &output)?;
    // Each head gives its rows; they go back to their places.
    let mut order: Vec<(usize, i32)> = heads.iter().flat_map(|head| head.rows.iter()).copied().zip(0..).collect();
    order.sort_unstable();
    if order.iter().map(|(row, _)| *row).ne(0..rows) {
        let message =
            format!("the heads compute {} of {rows} rows: each row needs an adapter with a head", order.len());
        return Err(message.into());
    }
    let logits = Tensor::cat(heads.into_iter().map(|head| head.logits.into_values()).collect(), 0);
    let places: Vec<i32> = order.into_iter().map(|(_, place)| place).collect();
    let places = Tensor::<1, Int>::from_data(TensorData::new(places, [rows]), &logits.device());
    Ok(logits.select(0, places))
}
