//! Rotary position embeddings.

use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};

/// Rotary position embeddings (Su et al., 2021, <https://arxiv.org/abs/2104.09864>). Element `i` of a head is rotated
/// together with element `i + dims / 2`, as in Llama, or with its [neighbor](Self::interleaved).
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_adapters_ops::Rotary;
///
/// let rotary = Rotary::new(4, 10_000.0);
/// let x = Tensor::<4>::ones([1, 1, 2, 4], &Device::default());
/// let rotated = rotary.rotate(x.clone(), 0);
/// // Position 0 is not rotated; lengths never change.
/// let first = (rotated.clone().narrow(2, 0, 1) - x.narrow(2, 0, 1)).abs().max().into_scalar::<f32>();
/// assert_eq!(first, 0.0);
/// assert!((rotated.powi_scalar(2).sum().into_scalar::<f32>() - 8.0).abs() < 1e-5);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Rotary {
    /// The angle by which each pair rotates per position.
    frequencies: Arc<[f32]>,
    /// Whether neighbors are pairs.
    is_interleaved: bool,
    /// The base of the frequencies.
    theta: f64,
    /// A factor on cosines and sines.
    magnitude: f32,
    /// The factor by which each frequency was divided, if each has its own.
    factors: Option<Arc<[f32]>>,
}

/// Ways to stretch rotary positions, as `rope_scaling` of Hugging Face's `config.json` names them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RotaryScaling {
    /// Every frequency divided by `factor` (Chen et al., 2023, <https://arxiv.org/abs/2306.15595>).
    Linear {
        /// The factor.
        factor: f64,
    },
    /// Llama 3's: low frequencies divided by `factor`, high ones unchanged, those between interpolated.
    Llama3 {
        /// The factor.
        factor: f64,
        /// Wavelengths above `original_positions / low_frequency_factor` are low frequencies.
        low_frequency_factor: f64,
        /// Wavelengths below `original_positions / high_frequency_factor` are high frequencies.
        high_frequency_factor: f64,
        /// The longest sequence that the model was first trained on.
        original_positions: f64,
    },
    /// YaRN (Peng et al., 2023, <https://arxiv.org/abs/2309.00071>): frequencies that rotate less than `beta_slow` times
    /// over the original positions are divided by `factor`, those that rotate more than `beta_fast` times are unchanged,
    /// those between are interpolated along their numbers. Cosines and sines are multiplied by `attention_factor`.
    Yarn {
        /// The factor.
        factor: f64,
        /// The factor on cosines and sines.
        attention_factor: f64,
        /// Rotations of frequencies that are unchanged.
        beta_fast: f64,
        /// Rotations of frequencies that are divided.
        beta_slow: f64,
        /// The longest sequence that the model was first trained on.
        original_positions: f64,
        /// Whether the bounds of the interpolation are whole numbers of frequencies.
        truncate: bool,
    },
}

impl RotaryScaling {
    /// The frequency with this number, of rotary positions of `dims` elements.
    fn of(self, pair: usize, frequency: f32, dims: usize, theta: f64) -> f32 {
        match self {
            Self::Yarn { factor, beta_fast, beta_slow, original_positions, truncate, .. } => {
                // The number of the frequency that rotates so many times.
                let dims = dims as f64;
                let number = |rotations: f64| {
                    let rotation = 2.0 * std::f64::consts::PI * rotations;
                    dims * (original_positions / rotation).ln() / (2.0 * theta.ln())
                };
                let (low, high) = (number(beta_fast), number(beta_slow));
                let (low, high) = if truncate { (low.floor(), high.ceil()) } else { (low, high) };
                let (low, high) = (low.max(0.0), high.min(dims - 1.0));
                let width = if low == high { 0.001 } else { high - low };
                let ramp = ((pair as f32 - low as f32) / width as f32).clamp(0.0, 1.0);
                let kept = 1.0 - ramp;
                let divided = 1.0 / (factor as f32 * (1.0 / frequency));
                divided * (1.0 - kept) + frequency * kept
            }
            Self::Linear { factor } => frequency / factor as f32,
            Self::Llama3 { .. } => (f64::from(frequency) / self.divisor(frequency)) as f32,
        }
    }

    /// What Llama 3's scaling divides a frequency by; 1 for the others, which have one rule for all frequencies.
    fn divisor(self, frequency: f32) -> f64 {
        let Self::Llama3 { factor, low_frequency_factor, high_frequency_factor, original_positions } = self else {
            return 1.0;
        };
        let wavelength = 2.0 * std::f64::consts::PI / f64::from(frequency);
        if wavelength < original_positions / high_frequency_factor {
            return 1.0;
        }
        if wavelength > original_positions / low_frequency_factor {
            return factor;
        }
        let smooth =
            (original_positions / wavelength - low_frequency_factor) / (high_frequency_factor - low_frequency_factor);
        1.0 / ((1.0 - smooth) / factor + smooth)
    }
}

impl Rotary {
    /// Rotates the first `dims` elements of each head; `theta` is the base of the frequencies, `theta^(-2i / dims)`.
    pub fn new(dims: usize, theta: f64) -> Self {
        let frequency = |pair: usize| (theta as f32).powf(2.0 * pair as f32 / dims as f32).recip();
        let frequencies = (0..dims / 2).map(frequency).collect();
        Self { frequencies, is_interleaved: false, theta, magnitude: 1.0, factors: None }
    }

    /// Stretches the positions, for sequences longer than those that a model was trained on.
    pub fn scaled(mut self, scaling: RotaryScaling) -> Self {
        let (dims, theta) = (self.dims(), self.theta);
        if let RotaryScaling::Llama3 { .. } = scaling {
            self.factors = Some(self.frequencies.iter().map(|frequency| scaling.divisor(*frequency) as f32).collect());
        }
        let numbered = self.frequencies.iter().enumerate();
        self.frequencies = numbered.map(|(pair, frequency)| scaling.of(pair, *frequency, dims, theta)).collect();
        if let RotaryScaling::Yarn { attention_factor, .. } = scaling {
            self.magnitude = attention_factor as f32;
        }
        self
    }

    /// Divides each frequency by a factor of its own, beside any other scaling: Llama 3's scaling as GGUF files hold it.
    /// `None` unless there are as many factors as pairs.
    pub fn divided(mut self, factors: &[f32]) -> Option<Self> {
        if factors.len() != self.frequencies.len() {
            return None;
        }
        self.frequencies = self.frequencies.iter().zip(factors).map(|(frequency, factor)| frequency / factor).collect();
        self.factors = Some(factors.into());
        Some(self)
    }

    /// The factors by which [`RotaryScaling::Llama3`] or [`divided`](Self::divided) divided the frequencies, one for each pair;
    /// `None` if neither did.
    pub fn factors(&self) -> Option<&[f32]> {
        self.factors.as_deref()
    }

    /// Rotates neighbors together, elements `2i` and `2i + 1`, as the paper has it.
    pub fn interleaved(mut self) -> Self {
        self.is_interleaved = true;
        self
    }

    /// The number of elements of a head that are rotated.
    pub fn dims(&self) -> usize {
        2 * self.frequencies.len()
    }

    /// Turns a rotated head by a number of positions, which may be negative: a key at position `p` becomes that of the same
    /// token at `p + positions`. Its length does not change. Elements of a narrower head are left as they are.
    ///
    /// # Shapes
    /// - head: `[head]`
    pub fn turn(&self, head: &mut [f32], positions: f64) {
        let half = self.frequencies.len();
        for (pair, frequency) in self.frequencies.iter().enumerate() {
            let [low, high] = if self.is_interleaved { [2 * pair, 2 * pair + 1] } else { [pair, pair + half] };
            if let (Some(&a), Some(&b)) = (head.get(low), head.get(high)) {
                let (sin, cos) = (positions * f64::from(*frequency)).sin_cos();
                let (a, b) = (f64::from(a), f64::from(b));
                head[low] = (a * cos - b * sin) as f32;
                head[high] = (b * cos + a * sin) as f32;
            }
        }
    }

    /// Rotates queries or keys whose first position is `first`.
    ///
    /// # Shapes
    /// - x, output: `[batch, heads, positions, head]`
    ///
    /// # Panics
    /// If a head is narrower than [`dims`](Self::dims).
    pub fn rotate(&self, x: Tensor<4>, first: usize) -> Tensor<4> {
        self.rotate_rows(x, &[first])
    }

    /// [`rotate`](Self::rotate) with a first position for each row, or one for all.
    ///
    /// # Shapes
    /// - x, output: `[batch, heads, positions, head]`
    ///
    /// # Panics
    /// If a head is narrower than [`dims`](Self::dims).
    pub fn rotate_rows(&self, x: Tensor<4>, first: &[usize]) -> Tensor<4> {
        let [_, _, positions, _] = x.dims();
        self.table(first.iter().flat_map(|first| *first..first + positions)).rotate(x)
    }

    /// The cosines and sines of positions, for tensors that are rotated alike: of all positions of one row, if every row has
    /// the same, or of all rows, row by row.
    pub fn table(&self, positions: impl IntoIterator<Item = usize>) -> RotaryTable {
        let angles = positions
            .into_iter()
            .flat_map(|position| self.frequencies.iter().map(move |frequency| (position as f32 * frequency).sin_cos()));
        let turns = angles.map(|(sin, cos)| [cos * self.magnitude, sin * self.magnitude]).collect();
        RotaryTable { turns, half: self.frequencies.len(), is_interleaved: self.is_interleaved }
    }
}

/// The cosines and sines of [`Rotary`] positions. A clone shares them.
#[derive(Debug, Clone)]
pub struct RotaryTable {
    /// The cosine and the sine of each pair, position by position.
    turns: Arc<[[f32; 2]]>,
    /// The number of pairs.
    half: usize,
    is_interleaved: bool,
}

impl RotaryTable {
    /// Rotates queries or keys.
    ///
    /// # Shapes
    /// - x, output: `[batch, heads, positions, head]`
    ///
    /// # Panics
    /// If a head is narrower than what is rotated, or the table has other positions than the rows.
    pub fn rotate(&self, x: Tensor<4>) -> Tensor<4> {
        let [batch, _, positions, head] = x.dims();
        assert!(head >= 2 * self.half, "heads of {head} elements are too narrow to rotate {}", 2 * self.half);
        if self.half == 0 {
            return x;
        }
        let rows = self.turns.len() / (positions * self.half).max(1);
        assert!(
            self.turns.len() == rows * positions * self.half
                && (rows == 1 || rows == batch || x.shape().num_elements() == 0),
            "a table for {} turns does not fit {batch} rows of {positions} positions",
            self.turns.len()
        );
        #[cfg(feature = "flex")]
        if let Some(operand) = crate::flex::Operand::new(&x).filter(|_| x.shape().num_elements() > 0) {
            drop(x);
            return own::rotate(operand, self);
        }
        self.composed(x, rows)
    }

    fn composed(&self, x: Tensor<4>, rows: usize) -> Tensor<4> {
        let [_, _, positions, head] = x.dims();
        let half = self.half;
        let device = x.device().without_autodiff();
        let fill = |part: usize| {
            let values: Vec<f32> = self.turns.iter().map(|turn| turn[part]).collect();
            Tensor::<4>::from_data(TensorData::new(values, [rows, 1, positions, half]), &device)
        };
        let (cos, sin) = (fill(0), fill(1));
        let turned = x.clone().narrow(3, 0, 2 * half);
        let (low, high) = self.pairs(turned);
        let (low, high) = (low.clone() * cos.clone() - high.clone() * sin.clone(), high * cos + low * sin);
        let mut parts = match self.is_interleaved {
            true => vec![Tensor::stack::<5>(vec![low, high], 4).flatten(3, 4)],
            false => vec![low, high],
        };
        if head > 2 * half {
            parts.push(x.narrow(3, 2 * half, head - 2 * half));
        }
        Tensor::cat(parts, 3)
    }

    /// The first and the second elements of all pairs: `[batch, heads, positions, dims / 2]` each.
    fn pairs(&self, x: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let [batch, heads, positions, _] = x.dims();
        let half = self.half;
        if !self.is_interleaved {
            return (x.clone().narrow(3, 0, half), x.narrow(3, half, half));
        }
        let pairs = x.reshape([batch, heads, positions, half, 2]);
        let element = |index| pairs.clone().narrow(4, index, 1).squeeze_dim(4);
        (element(0), element(1))
    }
}

#[cfg(feature = "flex")]
mod own {
    use std::mem::MaybeUninit;

    use burn::backend::Flex;
    use burn::backend::autodiff::checkpoint::base::Checkpointer;
    use burn::backend::autodiff::grads::Gradients;
    use burn::backend::autodiff::ops::{Backward, Ops};
    use burn::backend::ops::FloatTensorOps;
    use burn::tensor::{Shape, Tensor};

    use super::RotaryTable;
    use crate::flex::{Operand, Raw, record, register, tensor};
    use crate::heads::Heads;
    use crate::kernel::{Work, rows_in_piece, run, written};

    #[derive(Debug)]
    struct Rotate;

    impl Backward<Flex, 1> for Rotate {
        type State = RotaryTable;

        fn backward(self, ops: Ops<RotaryTable, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
            let [x] = ops.parents;
            let gradient = gradients.consume::<Flex>(&ops.node);
            register(gradients, x.map(|node| node.id), rotated(gradient, &ops.state, -1.0));
        }
    }

    pub(super) fn rotate(x: Operand, table: &RotaryTable) -> Tensor<4> {
        record([x], Rotate, |[x], [keeps]| (rotated(x, table, 1.0), keeps.then(|| table.clone())))
    }

    /// Rotates, or with a sign of -1 rotates back. Heads that are next to each other in x are so in the output.
    fn rotated(x: Raw, table: &RotaryTable, sign: f32) -> Raw {
        let dims: Vec<usize> = x.layout().shape().to_vec();
        let (batch, heads, positions, head) = (dims[0], dims[1], dims[2], dims[3]);
        let x = Heads::of_batch(x);
        let write = |output: &mut [MaybeUninit<f32>]| {
            let high = rows_in_piece(heads * head);
            let pieces =
                output.chunks_mut(high * heads * head).enumerate().map(|(piece, output)| (piece * high, output));
            let sizes = [heads, positions, head];
            run(pieces.collect(), &Turn { x: &x, table, sign, sizes });
        };
        // SAFETY: the pieces cover all positions of all rows, and each element of a position is written.
        let output = unsafe { written(batch * positions * heads * head, write) };
        Flex::float_swap_dims(tensor(output, Shape::new([batch, positions, heads, head])), 1, 2)
    }

    struct Turn<'a> {
        x: &'a Heads,
        table: &'a RotaryTable,
        sign: f32,
        /// Heads, positions, and the width of a head.
        sizes: [usize; 3],
    }

    impl Work<(usize, &mut [MaybeUninit<f32>])> for Turn<'_> {
        type Result = ();

        #[inline(always)]
        fn work<S: pulp::Simd>(&self, _: S, (first, output): (usize, &mut [MaybeUninit<f32>])) {
            let [heads, positions, head] = self.sizes;
            let RotaryTable { turns, half, is_interleaved } = self.table;
            let half = *half;
            for (number, output) in output.chunks_exact_mut(heads * head).enumerate() {
                let (row, position) = ((first + number) / positions, (first + number) % positions);
                let turns = &turns[(first + number) * half % turns.len()..][..half];
                for (index, output) in output.chunks_exact_mut(head).enumerate() {
                    let x = &self.x.get(row, index, position).data[..head];
                    let (output, rest) = output.split_at_mut(2 * half);
                    rest.write_copy_of_slice(&x[2 * half..]);
                    if *is_interleaved {
                        let pairs = output.as_chunks_mut::<2>().0.iter_mut().zip(x.as_chunks::<2>().0);
                        for (([low, high], [x, y]), [cos, sin]) in pairs.zip(turns) {
                            low.write(x * cos - y * sin * self.sign);
                            high.write(y * cos + x * sin * self.sign);
                        }
                        continue;
                    }
                    let (lows, highs) = output.split_at_mut(half);
                    let pairs = x[..half].iter().zip(&x[half..2 * half]);
                    for (((low, high), (x, y)), [cos, sin]) in lows.iter_mut().zip(highs).zip(pairs).zip(turns) {
                        low.write(x * cos - y * sin * self.sign);
                        high.write(y * cos + x * sin * self.sign);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn interleaved_pairs_are_neighbors() {
        let rotary = |x: [f32; 6], rotary: Rotary| {
            let x = Tensor::<1>::from_floats(x, &Device::default()).reshape([1, 1, 1, 6]);
            rotary.rotate(x, 3).into_data().try_to_vec::<f32>().unwrap()
        };
        // Two pairs of four elements; the last two are not rotated.
        let halves = rotary([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], Rotary::new(4, 100.0));
        let neighbors = rotary([1.0, 3.0, 2.0, 4.0, 5.0, 6.0], Rotary::new(4, 100.0).interleaved());
        assert_eq!([halves[0], halves[2], halves[1], halves[3], 5.0, 6.0], neighbors[..]);
    }

    #[test]
    fn the_factors_of_llama_3_give_its_frequencies_again() {
        let scaling = RotaryScaling::Llama3 {
            factor: 8.0,
            low_frequency_factor: 1.0,
            high_frequency_factor: 4.0,
            original_positions: 128.0,
        };
        let plain = Rotary::new(8, 5000.0);
        let scaled = plain.clone().scaled(scaling);
        let factors = scaled.factors().unwrap();
        // High frequencies are unchanged, low ones divided, those between have a factor between.
        assert_eq!([factors[0], factors[2], factors[3]], [1.0, 8.0, 8.0]);
        assert!(factors[1] > 1.0 && factors[1] < 8.0, "{factors:?}");
        let divided = plain.clone().divided(factors).unwrap();
        assert_eq!(divided.factors(), Some(factors));
        for (one, other) in divided.frequencies.iter().zip(scaled.frequencies.iter()) {
            assert!((one / other - 1.0).abs() < 2e-7, "{one} {other}");
        }
        assert_eq!(plain.clone().divided(&factors[..3]), None);
        assert_eq!(plain.scaled(RotaryScaling::Linear { factor: 8.0 }).factors(), None);
    }

    #[test]
    fn scores_depend_on_the_distance_of_positions_alone() {
        let rotary = Rotary::new(6, 10_000.0);
        let device = Device::default();
        let vector = |seed: f32| {
            let values: Vec<f32> = (0..8).map(|index| (seed + index as f32).sin()).collect();
            Tensor::<4>::from_data(TensorData::new(values, [1, 1, 1, 8]), &device)
        };
        let score = |q: usize, k: usize| {
            (rotary.rotate(vector(1.0), q) * rotary.rotate(vector(2.0), k)).sum().into_scalar::<f32>()
        };
        assert!((score(5, 3) - score(12, 10)).abs() < 1e-5);
        assert!((score(5, 3) - score(5, 4)).abs() > 1e-3);
    }
}
