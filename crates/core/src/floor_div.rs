//! Division of a size by a reduction factor.

/// `⌊size / factor⌋` as Python's `//` computes it on floats, from the exact remainder. `192 // 0.1` is 1919, because
/// the float nearest to 0.1 is a little more than 0.1, whereas `(192.0 / 0.1).floor()` is 1920.
///
/// 0 for a factor that is not positive.
///
/// ```
/// assert_eq!(burn_adapters_core::floor_div(768, 16.0), 48);
/// assert_eq!(burn_adapters_core::floor_div(192, 0.1), 1919);
/// ```
pub fn floor_div(size: usize, factor: f64) -> usize {
    let size = size as f64;
    // Apart from rounding the quotient is an integer, so rounding it floors the exact one.
    let whole = ((size - size % factor) / factor).round();
    if factor > 0.0 { whole as usize } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_divided_as_python_divides_them() {
        // `size // factor`, printed by Python.
        let printed = [
            (192, 0.1, 1919),
            (768, 0.3, 2560),
            (384, 1.1, 349),
            (768, 0.7, 1097),
            (33, 1.1, 29),
            (64, 0.05, 1279),
            (4, 0.1, 39),
            (312, 1.3, 239),
            (768, 16.0, 48),
            (32, 1000.0, 0),
        ];
        for (size, factor, expected) in printed {
            assert_eq!(floor_div(size, factor), expected, "{size} // {factor}");
        }
    }
}
