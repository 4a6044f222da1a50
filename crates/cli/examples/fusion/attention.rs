//! The attention of a fusion.

use std::collections::BTreeMap;
use std::error::Error;

use burn::module::Module;
use burn_adapters_core::Site;
use burn_adapters_model::{AdapterBank, BaseModel, Forward, Setup, TokenBatch};
use burn_adapters_train::{Row, TokenData};

/// The mean attention to each adapter, layer by layer, over all tokens of some sentences: rows are layers, columns
/// adapters in the order of the fusion.
pub(crate) fn means(
    base: &dyn BaseModel,
    bank: &AdapterBank,
    setup: &Setup,
    data: &TokenData,
) -> Result<Vec<Vec<f64>>, Box<dyn Error>> {
    let bank = bank.valid();
    let setup = setup.clone().observe_fusions();
    let mut rows: Vec<&Row> = data.rows().iter().collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.ids.len()));
    let mut sums: BTreeMap<Site, Vec<f64>> = BTreeMap::new();
    for rows in rows.chunks(64) {
        let hooks = bank.hooks(&setup)?;
        base.forward(&TokenBatch::from_rows(rows.iter().copied()), &hooks)?;
        for (site, attention) in hooks.observed().fusions.into_values().flatten() {
            let [_, sequence, adapters] = attention.dims();
            let values = attention.try_into_data_as::<f32>()?.try_into_vec::<f32>()?;
            let sums = sums.entry(site).or_insert_with(|| vec![0.0; adapters]);
            for (row, values) in rows.iter().zip(values.chunks(sequence * adapters)) {
                // Padding is no token.
                for token in values.chunks(adapters).take(row.ids.len()) {
                    sums.iter_mut().zip(token).for_each(|(sum, value)| *sum += f64::from(*value));
                }
            }
        }
    }
    let tokens: usize = rows.iter().map(|row| row.ids.len()).sum();
    Ok(sums.into_values().map(|sums| sums.into_iter().map(|sum| sum / tokens as f64).collect()).collect())
}
