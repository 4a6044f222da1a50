//! Medians and ratios.

/// The median; `None` without values, or if one is NaN.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    if values.is_empty() || values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    Some(if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 })
}

/// The mean; `None` without values.
pub(crate) fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The comparison of two series with the same repetitions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ratio {
    /// The ratio of the medians.
    pub(crate) medians: f64,
    /// The smallest and the largest ratio of a repetition.
    pub(crate) lowest: f64,
    pub(crate) highest: f64,
}

/// `ours` over `theirs`; `None` without times.
pub(crate) fn ratio(ours: &[f64], theirs: &[f64]) -> Option<Ratio> {
    let medians = median(ours)? / median(theirs)?;
    let single = || ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs);
    let (lowest, highest) = (single().fold(f64::INFINITY, f64::min), single().fold(0.0, f64::max));
    (medians.is_finite() && highest.is_finite()).then_some(Ratio { medians, lowest, highest })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_between_the_two() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[7.0]), Some(7.0));
    }

    #[test]
    fn there_is_no_median_of_nothing_or_of_what_is_no_number() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[1.0, f64::NAN]), None);
        assert_eq!(mean(&[]), None);
    }

    #[test]
    fn the_ratio_is_of_medians_and_its_range_of_repetitions() {
        let ratio = ratio(&[1.0, 3.0, 2.0], &[2.0, 4.0, 8.0]).unwrap();
        assert_eq!(ratio, Ratio { medians: 0.5, lowest: 0.25, highest: 0.75 });
    }

    #[test]
    fn nothing_divides_by_no_time() {
        assert_eq!(ratio(&[1.0], &[0.0]), None);
        assert_eq!(ratio(&[], &[1.0]), None);
    }
}
