//! Learning rate schedules.

use serde::{Deserialize, Serialize};

/// The course of the learning rate from its peak, at the end of the warm-up, to the end of training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// The learning rate is constant.
    Constant,
    /// It decreases linearly to 0.
    #[default]
    Linear,
    /// It decreases along a half cosine to 0.
    Cosine,
}

/// The number of optimizer steps during which the learning rate rises linearly from 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Warmup {
    /// This many steps.
    Steps(usize),
    /// This fraction of all steps, from 0 to 1.
    Ratio(f64),
}

impl Warmup {
    /// The number of steps, rounded up.
    pub fn steps(self, total: usize) -> usize {
        match self {
            Warmup::Steps(steps) => steps,
            Warmup::Ratio(ratio) => (total as f64 * ratio).ceil() as usize,
        }
    }
}

impl Schedule {
    /// The factor on the peak learning rate at an optimizer step (from 0) of `total` steps, with `warmup` warm-up
    /// steps.
    ///
    /// ```
    /// use burn_adapters_train::Schedule;
    ///
    /// assert_eq!(Schedule::Linear.factor(0, 0, 10), 1.0);
    /// assert_eq!(Schedule::Linear.factor(5, 0, 10), 0.5);
    /// assert_eq!(Schedule::Cosine.factor(1, 4, 10), 0.25);
    /// ```
    pub fn factor(self, step: usize, warmup: usize, total: usize) -> f64 {
        if step < warmup {
            return step as f64 / warmup as f64;
        }
        let left = total.saturating_sub(warmup).max(1);
        let progress = ((step - warmup) as f64 / left as f64).min(1.0);
        match self {
            Schedule::Constant => 1.0,
            Schedule::Linear => 1.0 - progress,
            Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `get_linear_schedule_with_warmup` and `get_cosine_schedule_with_warmup` of transformers 4.57, warm-up 3 of 10 steps.
    #[test]
    fn factors_are_those_of_the_reference() {
        let factors = |schedule: Schedule| (0..10).map(|step| schedule.factor(step, 3, 10)).collect::<Vec<_>>();
        let close = |found: Vec<f64>, expected: [f64; 10]| {
            found.iter().zip(expected).for_each(|(a, b)| assert!((a - b).abs() < 1e-9, "{found:?}"));
        };
        close(factors(Schedule::Linear), LINEAR);
        close(factors(Schedule::Cosine), COSINE);
    }

    const LINEAR: [f64; 10] = [
        0.0,
        0.3333333333333333,
        0.6666666666666666,
        1.0,
        0.8571428571428571,
        0.7142857142857143,
        0.5714285714285714,
        0.42857142857142855,
        0.2857142857142857,
        0.14285714285714285,
    ];
    const COSINE: [f64; 10] = [
        0.0,
        0.3333333333333333,
        0.6666666666666666,
        1.0,
        0.9504844339512095,
        0.8117449009293668,
        0.6112604669781572,
        0.38873953302184283,
        0.18825509907063326,
        0.04951556604879048,
    ];

    #[test]
    fn a_ratio_counts_a_begun_step() {
        assert_eq!(Warmup::Ratio(0.1).steps(25), 3);
        assert_eq!(Warmup::Ratio(0.0).steps(25), 0);
        assert_eq!(Warmup::Steps(4).steps(25), 4);
    }

    #[test]
    fn a_warm_up_longer_than_the_training_is_no_division_by_zero() {
        assert_eq!(Schedule::Linear.factor(5, 10, 5), 0.5);
        assert_eq!(Schedule::Linear.factor(10, 10, 5), 1.0);
    }
}
