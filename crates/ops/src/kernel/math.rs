//! Sums, the exponential and the normal distribution, written so that compilers vectorize them.

/// The number of independent partial sums: the lanes of the widest vector.
const LANES: usize = 16;

/// The sum of `f` over the elements of three slices.
#[inline(always)]
pub(crate) fn sum3(a: &[f32], b: &[f32], c: &[f32], f: impl Fn(f32, f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (a_whole, a_rest) = a.as_chunks::<LANES>();
    let (b_whole, b_rest) = b.as_chunks::<LANES>();
    let (c_whole, c_rest) = c.as_chunks::<LANES>();
    for ((a, b), c) in a_whole.iter().zip(b_whole).zip(c_whole) {
        for lane in 0..LANES {
            lanes[lane] += f(a[lane], b[lane], c[lane]);
        }
    }
    let mut rest = 0.0;
    for ((a, b), c) in a_rest.iter().zip(b_rest).zip(c_rest) {
        rest += f(*a, *b, *c);
    }
    fold(lanes, |a, b| a + b) + rest
}

/// The sum of `f` over the elements of both slices.
#[inline(always)]
pub(crate) fn sum2(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    sum3(a, b, b, |a, b, _| f(a, b))
}

/// The sum of `f` over the elements.
#[inline(always)]
pub(crate) fn sum(a: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    sum2(a, a, |a, _| f(a))
}

/// The largest element that is not NaN; −∞ if there is none.
#[inline(always)]
pub(crate) fn max(a: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (whole, rest) = a.as_chunks::<LANES>();
    for a in whole {
        for lane in 0..LANES {
            lanes[lane] = larger(lanes[lane], a[lane]);
        }
    }
    let mut largest = f32::NEG_INFINITY;
    for a in rest {
        largest = larger(largest, *a);
    }
    larger(fold(lanes, larger), largest)
}

#[inline(always)]
fn fold(mut lanes: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] = f(lanes[lane], lanes[lane + half]);
        }
        half /= 2;
    }
    lanes[0]
}

/// eˣ for x ≤ 0, to about one unit in the last place; 0 below −87, where the result would be subnormal.
#[inline(always)]
pub(crate) fn exp_of_negative(x: f32) -> f32 {
    // Adding 1.5 · 2²³ rounds to an integer, which is then in the low bits.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts; the first has few enough bits for an exact product.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let whole = rounded - ROUND;
    let r = (x - whole * LN_2_HIGH) - whole * LN_2_LOW;
    // Taylor's series: |r| ≤ ln 2 / 2.
    let mut p = 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r * r + r + 1.0;
    let power = f32::from_bits((rounded.to_bits() << 23).wrapping_add(127 << 23));
    if x < -87.0 { 0.0 } else { p * power }
}

/// The logistic function, `1 / (1 + e⁻ˣ)`.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    let power = exp_of_negative(-x.abs());
    let share = 1.0 / (1.0 + power);
    if x < 0.0 { power * share } else { share }
}

/// The cumulative distribution function and the density of the standard normal distribution at `x`.
#[inline(always)]
pub(crate) fn normal(x: f32) -> (f32, f32) {
    // The tail Φ(−t) is e^(−t²/2) times a smooth function of t, here a polynomial in 1/(1 + 0.4 t)
    // fitted by least squares for t in [0, 14]: at most 2e-8 off, relatively.
    const TAIL: [f32; 10] = [
        0.159_575_34,
        0.159_641_19,
        0.133_000_24,
        0.092_106_75,
        -0.029_412_856,
        0.124_874_4,
        -0.381_159_2,
        0.388_086_2,
        -0.179_435_45,
        0.032_723_367,
    ];
    const DENSITY_AT_0: f32 = 0.398_942_3;
    let t = x.abs();
    let u = 1.0 / (1.0 + 0.4 * t);
    let mut p = TAIL[9];
    p = p * u + TAIL[8];
    p = p * u + TAIL[7];
    p = p * u + TAIL[6];
    p = p * u + TAIL[5];
    p = p * u + TAIL[4];
    p = p * u + TAIL[3];
    p = p * u + TAIL[2];
    p = p * u + TAIL[1];
    p = p * u + TAIL[0];
    let bell = exp_of_negative(-0.5 * t * t);
    let tail = bell * p * u;
    (if x < 0.0 { tail } else { 1.0 - tail }, bell * DENSITY_AT_0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_the_standard_librarys() {
        for step in 0..87_000 {
            let x = -(step as f32) / 1000.0;
            let (ours, exact) = (f64::from(exp_of_negative(x)), f64::from(x).exp());
            assert!(((ours - exact) / exact).abs() < 2e-7, "exp({x}) is {exact}, not {ours}");
        }
        assert_eq!(exp_of_negative(f32::MIN), 0.0);
        assert_eq!(exp_of_negative(f32::NEG_INFINITY), 0.0);
        assert!(exp_of_negative(f32::NAN).is_nan());
    }

    #[test]
    fn the_normal_distribution_has_its_tabled_values() {
        for (x, cdf) in [
            (0.0, 0.5),
            (1.0, 0.841_344_746_068_543),
            (-1.0, 0.158_655_253_931_457),
            (-3.0, 0.001_349_898_031_630_095),
            (5.0, 0.999_999_713_348_428_1),
        ] {
            let (ours, density) = normal(x);
            assert!((f64::from(ours) / cdf - 1.0).abs() < 1e-6, "Φ({x}) is {cdf}, not {ours}");
            let exact = (-f64::from(x * x) / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
            assert!((f64::from(density) / exact - 1.0).abs() < 1e-6, "φ({x}) is {exact}, not {density}");
        }
    }

    #[test]
    fn sums_and_maxima_take_the_rest_that_fills_no_vector() {
        let values: Vec<f32> = (1..=67).map(|value| value as f32).collect();
        assert_eq!(sum(&values, |a| a), 2278.0);
        assert_eq!(max(&values), 67.0);
        assert_eq!(max(&values[..5]), 5.0);
    }
}
