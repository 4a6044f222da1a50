//! The floor of a job: the time of its unavoidable operations at this machine's rate of matrix products.
//!
//! Only the products of the base model are counted, with a multiplication and an addition as two operations; an adapter
//! adds a few percent. Work that can be avoided is not counted: padding; in the last layer all positions but the first,
//! which the head reads, except for keys and values; in the backward pass the layers below the lowest trained one, and
//! the gradients of frozen weights. A floor is an underestimate.

use serde_json::Value;

/// The sizes of an encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) layers: usize,
    pub(crate) hidden: usize,
    pub(crate) intermediate: usize,
}

impl Sizes {
    /// As `config.json` says.
    pub(crate) fn of_config(config: &Value) -> Option<Self> {
        let size = |name: &str| usize::try_from(config.get(name)?.as_u64()?).ok();
        Some(Self {
            layers: size("num_hidden_layers")?,
            hidden: size("hidden_size")?,
            intermediate: size("intermediate_size")?,
        })
    }
}

/// The operation on a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// Nothing with a batch.
    Nothing,
    /// A pass.
    Infer,
    /// A pass and the way back, to (not through) this layer, the lowest one with an adapter.
    Step { lowest: usize },
    /// A pass, and the gradients of all weights.
    Full,
}

/// The operations on a batch of rows of these lengths.
pub(crate) fn operations(sizes: Sizes, lengths: &[usize], work: Work) -> f64 {
    let [rows, hidden, wide] = [lengths.len(), sizes.hidden, sizes.intermediate].map(|size| size as f64);
    let all = lengths.iter().sum::<usize>() as f64;
    let squares = lengths.iter().map(|length| length * length).sum::<usize>() as f64;
    let matrix = 2.0 * hidden * hidden;
    let feed_forward = 4.0 * hidden * wide;
    // Scores, and the weighted values: of every position with every one of its row, and of the first with every one.
    let (attention, first_attention) = (4.0 * squares * hidden, 4.0 * all * hidden);

    let linear = all * (4.0 * matrix + feed_forward);
    let last_linear = all * 2.0 * matrix + rows * (2.0 * matrix + feed_forward);
    let layers = sizes.layers.saturating_sub(1) as f64;
    let forward = layers * (linear + attention) + last_linear + first_attention;
    match work {
        Work::Nothing => 0.0,
        Work::Infer => forward,
        Work::Step { lowest } => {
            let above = sizes.layers.saturating_sub(lowest + 1);
            let last = if above > 0 { last_linear + 2.0 * first_attention } else { 0.0 };
            let back = above.saturating_sub(1) as f64 * (linear + 2.0 * attention);
            forward + back + last
        }
        Work::Full => {
            let back = layers * (2.0 * linear + 2.0 * attention);
            forward + back + 2.0 * last_linear + 2.0 * first_attention
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    const MINILM: Sizes = Sizes { layers: 6, hidden: 384, intermediate: 1536 };

    #[test]
    fn a_pass_of_one_position_is_two_operations_a_weight_and_the_scores() {
        // 4·384² + 2·384·1536 weights a layer, and one score and one weighted value of 384 products each.
        let expected = 6.0 * 2.0 * (4.0 * 384.0 * 384.0 + 2.0 * 384.0 * 1536.0) + 6.0 * 4.0 * 384.0;
        assert_eq!(operations(MINILM, &[1], Work::Infer), expected);
    }

    #[test]
    fn rows_add_up_and_more_work_is_more_operations() {
        let of = |lengths: &[usize], work| operations(MINILM, lengths, work);
        assert_eq!(of(&[32; 8], Work::Infer), 8.0 * of(&[32], Work::Infer));
        let step = of(&[32; 8], Work::Step { lowest: 0 });
        let upper = of(&[32; 8], Work::Step { lowest: 3 });
        assert!(of(&[32; 8], Work::Infer) < upper && upper < step && step < of(&[32; 8], Work::Full));
    }

    #[test]
    fn an_adapter_in_the_last_layer_costs_no_way_back() {
        let of = |work| operations(MINILM, &[9, 9], work);
        assert_eq!(of(Work::Step { lowest: 5 }), of(Work::Infer));
    }

    #[test]
    fn sizes_are_read_from_a_configuration() {
        let config = json!({"num_hidden_layers": 6, "hidden_size": 384, "intermediate_size": 1536});
        assert_eq!(Sizes::of_config(&config), Some(MINILM));
        assert_eq!(Sizes::of_config(&json!({"hidden_size": -1})), None);
    }
}
