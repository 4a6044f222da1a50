//! Dependency parsing: for each word its head in the sentence, and its relation to it.
//!
//! The head is biaffine (Dozat and Manning, 2017), as in Glavaš and Vulić (2021): a word is the mean of its tokens' states
//! `x`, with a 1 behind them. That the word `i` depends on `j` has the score `[x_i 1] A x_j`, and that it does so by the
//! relation `r` the score `[x_i 1] R_r [x_j 1]`. The first token of a row stands for the root.
//!
//! Both are linear in each word, so the mean can also be taken over the scores of tokens. That is what happens here: the
//! logits are those of all pairs of tokens, and targets know which tokens make a word.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use burn_adapters_core::{Fill, Init, Mode, Output, Reads};

use super::{Task, no_weights, token_states, wrong_targets};
use crate::loss::class_loss;
use crate::targets::TreeTarget;
use crate::{Head, HeadConfig, HeadError, HeadType, Logits, Targets};

/// The head and the relation of each word. The reference's `dependency_parsing` head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DependencyParsing;

const TYPE: HeadType = HeadType::new("dependency_parsing", 1, &[]).biaffine();

impl HeadConfig {
    /// A head for dependency parsing with this many relations.
    ///
    /// ```
    /// use burn_adapters_heads::HeadConfig;
    ///
    /// let config = HeadConfig::dependency_parsing(2).with_labels(["nsubj", "root"]);
    /// assert_eq!(config.outputs(), 3); // of a pair of tokens: the arc, and each relation
    /// ```
    pub fn dependency_parsing(relations: usize) -> Self {
        Self::new(TYPE, relations)
    }
}

/// The parameters of a parsing head.
#[derive(Module, Debug)]
pub struct Biaffine {
    /// Scores of arcs: `[1, hidden + 1, hidden]`.
    pub arcs: Param<Tensor<3>>,
    /// Scores of relations: `[relations, hidden + 1, hidden + 1]`.
    pub relations: Param<Tensor<3>>,
}

impl Biaffine {
    /// Zeros, as in the reference.
    pub(crate) fn new(hidden: usize, relations: usize, init: &mut Init, device: &Device) -> Self {
        Self {
            arcs: init.param([1, hidden + 1, hidden], Fill::ZEROS, device),
            relations: init.param([relations, hidden + 1, hidden + 1], Fill::ZEROS, device),
        }
    }

    /// The scores of all pairs of tokens of a row.
    ///
    /// # Shapes
    /// - states: `[tokens, hidden]`
    /// - output: `[tokens · tokens, 1 + relations]`, the dependent first
    fn forward(&self, states: Tensor<2>) -> Tensor<2> {
        let ([tokens, _], [relations, ..]) = (states.dims(), self.relations.val().dims());
        let ones = Tensor::ones([tokens, 1], &states.device());
        let with_one = Tensor::cat(vec![states.clone(), ones], 1);
        let arcs = with_one.clone().matmul(self.arcs.val().squeeze_dim(0)).matmul(states.transpose());
        let heads = with_one.clone().transpose().unsqueeze_dim::<3>(0);
        let relation = with_one.unsqueeze_dim::<3>(0).matmul(self.relations.val()).matmul(heads);
        let relation = relation.permute([1, 2, 0]).reshape([tokens * tokens, relations]);
        Tensor::cat(vec![arcs.reshape([tokens * tokens, 1]), relation], 1)
    }
}

impl Task for DependencyParsing {
    fn name(&self) -> &'static str {
        "dependency-parsing"
    }

    fn head_type(&self) -> HeadType {
        TYPE
    }

    fn reads(&self, _config: &HeadConfig) -> Reads {
        Reads::Tokens
    }

    /// A vector for each pair of tokens: the score of the arc, and of each relation.
    fn logits(&self, head: &Head, output: &Output, mode: Mode) -> Result<Logits, HeadError> {
        let (states, lengths) = token_states(output, None)?;
        let states = head.before_pairs(states, mode)?;
        let Some(biaffine) = head.biaffine_for(mode) else {
            let expected = "a head with scores of pairs".to_owned();
            return Err(HeadError::Shape { expected, found: "one without".into() });
        };
        let mut start = 0;
        let rows = lengths.iter().map(|length| {
            start += length;
            biaffine.forward(states.clone().narrow(0, start - length, *length))
        });
        let values = Tensor::cat(rows.collect(), 0);
        Logits::new(values, lengths.iter().map(|length| length * length).collect())
    }

    fn targets(&self) -> &'static str {
        "the head and the relation of each word"
    }

    /// The sum of the mean cross-entropies of the heads, among all words of the row and the root, and of the relations to
    /// the right heads.
    fn loss(
        &self,
        config: &HeadConfig,
        logits: &Logits,
        targets: &Targets,
        weights: Option<&[f32]>,
    ) -> Result<Tensor<1>, HeadError> {
        no_weights(weights)?;
        let Targets::Trees(rows) = targets else { return Err(wrong_targets(self, targets)) };
        super::check_shape(config, logits, targets)?;
        let count = self.mass(targets, None);
        let mut sum = logits.values().clone().sum() * 0.0;
        let mut start = 0;
        for (row, (tree, length)) in rows.iter().zip(logits.lengths()).enumerate() {
            tree.check(row, *length, config.num_labels)?;
            let pairs = logits.values().clone().narrow(0, start, *length);
            start += length;
            let learned: Vec<(usize, usize, usize)> = tree.learned().collect();
            if learned.is_empty() {
                continue;
            }
            let words = words(tree, pairs, &learned);
            let [_, candidates, width] = words.dims();
            let arcs = words.clone().slice([0..learned.len(), 0..candidates, 0..1]).squeeze_dim::<2>(2);
            let heads: Vec<usize> = learned.iter().map(|(_, head, _)| *head).collect();
            let share = learned.len() as f64 / count;
            sum = sum + class_loss(arcs, &heads, None) * share;
            let right = heads.iter().enumerate().map(|(word, head)| (word * candidates + head) as i32);
            let right = TensorData::new(right.collect::<Vec<_>>(), [heads.len()]);
            let right = Tensor::from_data(right, &words.device().without_autodiff());
            let all = words.reshape([learned.len() * candidates, width]);
            let of_heads = all.select(0, right).narrow(1, 1, width - 1);
            let relations: Vec<usize> = learned.iter().map(|(_, _, relation)| *relation).collect();
            sum = sum + class_loss(of_heads, &relations, None) * share;
        }
        Ok(sum)
    }

    fn mass(&self, targets: &Targets, _weights: Option<&[f32]>) -> f64 {
        let Targets::Trees(rows) = targets else { return 0.0 };
        rows.iter().map(|row| row.learned().count()).sum::<usize>() as f64
    }
}

/// The scores of learned words with all candidates for their heads: the root, and each word.
///
/// # Shapes
/// - pairs: `[tokens · tokens, width]`
/// - output: `[learned, 1 + words, width]`
fn words(tree: &TreeTarget, pairs: Tensor<2>, learned: &[(usize, usize, usize)]) -> Tensor<3> {
    let ([count, width], device) = (pairs.dims(), pairs.device().without_autodiff());
    let tokens = count.isqrt();
    let mean = |rows: Vec<std::ops::Range<usize>>| {
        let mut weights = vec![0.0; rows.len() * tokens];
        for (row, range) in rows.iter().enumerate() {
            range.clone().for_each(|token| weights[row * tokens + token] = 1.0 / range.len() as f32);
        }
        Tensor::<2>::from_data(TensorData::new(weights, [rows.len(), tokens]), &device)
    };
    let dependents = learned.iter().map(|(word, ..)| tree.words[*word].clone()).collect();
    let candidates: Vec<_> = std::iter::once(0..1).chain(tree.words.iter().cloned()).collect();
    let (rows, columns) = (learned.len(), candidates.len());
    let mean_of = |weights: Tensor<2>, values: Tensor<2>| {
        // Constants, beside what has a graph.
        let weights = if values.device().is_autodiff() { weights.autodiff() } else { weights };
        weights.matmul(values)
    };
    let of_dependents = mean_of(mean(dependents), pairs.reshape([tokens, tokens * width]));
    let of_dependents = of_dependents.reshape([rows, tokens, width]).swap_dims(0, 1).reshape([tokens, rows * width]);
    mean_of(mean(candidates), of_dependents).reshape([columns, rows, width]).swap_dims(0, 1)
}
