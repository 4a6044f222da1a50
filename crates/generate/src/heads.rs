//! Logits of the heads of adapters.

use burn::tensor::Tensor;
use burn_adapters_core::{Output, row_indices};
use burn_adapters_heads::Head;
use burn_adapters_model::{AdapterBank, BaseModel, Forward, HeadOutput, Setup};

use crate::LogitsError;

/// The logits of the next token by the language-model heads of a setup, `[rows, vocabulary]`, of the states of the last
/// tokens, `[rows, hidden]`. In a routed batch, each row has the head of its own adapter; rows without one use the model's
/// own output layer.
///
/// # Errors
/// If a head does not fit the states or does not predict tokens, or a row has no head and the model no output layer.
pub fn head_logits(
    model: &(impl BaseModel + ?Sized),
    bank: &AdapterBank,
    setup: &Setup,
    states: Tensor<2>,
) -> Result<Tensor<2>, LogitsError> {
    let [rows, _] = states.dims();
    // A beam search has several rows for each.
    let setup = &match setup.rows() {
        Some(own) if own > 0 && rows.is_multiple_of(own) => setup.with_repeated_rows(rows / own),
        _ => setup.clone(),
    };
    let device = states.device();
    let output = Output::new(states.clone().unsqueeze_dim(1), vec![1; rows]);
    let mut heads = Vec::new();
    for output in bank.outputs(model, setup, &output, None)? {
        match output {
            HeadOutput::Logits(part) => return Err(format!("the head `{}` does not predict tokens", part.head).into()),
            HeadOutput::States(part) => heads.push(part),
        }
    }
    let mut parts = Vec::new();
    // Each head gives its rows; they go back to their places.
    let mut order: Vec<usize> = Vec::new();
    // The model's own output layer is the head of many adapters: it computes the logits of all their rows at once.
    let (of_model, own): (Vec<_>, Vec<_>) =
        heads.into_iter().partition(|part| bank.head(&part.head).is_ok_and(Head::is_of_model));
    if let Some(head) = of_model.first().map(|part| part.head.clone()) {
        order.extend(of_model.iter().flat_map(|part| &part.rows));
        let states = Tensor::cat(of_model.into_iter().map(|part| part.states).collect(), 0);
        parts.push(bank.token_logits(model, &head, states, setup.mode())?);
    }
    for part in own {
        order.extend(&part.rows);
        parts.push(bank.token_logits(model, &part.head, part.states, setup.mode())?);
    }
    let others: Vec<usize> = (0..rows).filter(|row| !order.contains(row)).collect();
    if !others.is_empty() {
        let states = states.select(0, row_indices(&others, &device));
        parts.push(
            model
                .token_logits(states)
                .map_err(|error| format!("{} of {rows} rows have no adapter with a head: {error}", others.len()))?,
        );
        order.extend(others);
    }
    let mut places = vec![0; rows];
    order.into_iter().enumerate().for_each(|(place, row)| places[row] = place);
    Ok(Tensor::cat(parts, 0).select(0, row_indices(&places, &device)))
}
