//! The width of a bottleneck.

use burn_adapters_config::ReductionFactor;
use burn_adapters_core::floor_div;

use crate::BottleneckError;

/// The bottleneck width of one layer: `max(1, ⌊hidden_size / factor⌋)`.
pub fn bottleneck_width(
    reduction_factor: &ReductionFactor,
    hidden_size: usize,
    layer: usize,
) -> Result<usize, BottleneckError> {
    let factor = match reduction_factor {
        ReductionFactor::Uniform(factor) => *factor,
        ReductionFactor::PerLayer { layers, default } => layers
            .get(&layer)
            .copied()
            .or(*default)
            .ok_or_else(|| BottleneckError::NoReductionFactor { layer, named: layers.keys().copied().collect() })?,
    };
    if !factor.is_finite() || factor <= 0.0 {
        return Err(BottleneckError::BadReductionFactor { layer, found: factor });
    }
    Ok(floor_div(hidden_size, factor).max(1))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn widths_are_rounded_down_and_at_least_one() {
        let width = |factor, hidden| bottleneck_width(&ReductionFactor::Uniform(factor), hidden, 0).unwrap();
        assert_eq!(width(16.0, 768), 48);
        assert_eq!(width(12.0, 128), 10);
        assert_eq!(width(0.5, 32), 64);
        assert_eq!(width(1000.0, 32), 1);
    }

    #[test]
    fn a_map_without_default_must_name_every_layer() {
        let map = ReductionFactor::PerLayer { layers: [(0, 2.0)].into(), default: None };
        assert_eq!(bottleneck_width(&map, 32, 0).unwrap(), 16);
        assert_eq!(bottleneck_width(&map, 32, 1), Err(BottleneckError::NoReductionFactor { layer: 1, named: vec![0] }));
    }
}
