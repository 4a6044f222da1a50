//! Initialization of the rule and the weights of PHM layers.
//!
//! The weights of a layer follow `hypercomplex_nonlinearity`. The rule follows `phm_c_init`, at a scale that depends on
//! where it lives, as in the authors' code: a layer's own rule is drawn at 0.01 (half the width of the uniform
//! distribution, or the standard deviation); a shared rule uniformly in `[-1, 1]`, or normally with the standard
//! deviation `phm_init_range`.

use burn::tensor::Device;
use burn_adapters_config::{BottleneckConfig, HypercomplexInit, PhmRuleInit};
use burn_adapters_core::{Fill, Init};

use crate::{CompacterError, Matrices};

/// The owner of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    Layer,
    Adapter,
}

pub(crate) fn rule(
    config: &BottleneckConfig,
    owner: Owner,
    init: &mut Init,
    device: &Device,
) -> Result<Matrices, CompacterError> {
    let n = config.phm_dim;
    if n == 0 {
        return Err(CompacterError::Zero { key: "phm_dim" });
    }
    let fill = match (config.phm_c_init, owner) {
        (PhmRuleInit::Normal, Owner::Layer) => Fill::Normal { std: 0.01 },
        (PhmRuleInit::Uniform, Owner::Layer) => Fill::Uniform { bound: 0.01 },
        (PhmRuleInit::Normal, Owner::Adapter) => Fill::Normal { std: config.phm_init_range },
        (PhmRuleInit::Uniform, Owner::Adapter) => Fill::Uniform { bound: 1.0 },
    };
    let rule = if config.factorized_phm_rule {
        Matrices::factorized([n, n, n], 1, [fill, fill], init, device)
    } else {
        Matrices::full([n, n, n], fill, init, device)
    };
    Ok(match rule {
        rule if config.learn_phm => rule,
        Matrices::Full(rule) => Matrices::Full(rule.set_require_grad(false)),
        Matrices::Factorized(mut factors) => {
            factors.left = factors.left.set_require_grad(false);
            factors.right = factors.right.set_require_grad(false);
            Matrices::Factorized(factors)
        }
    })
}

pub(crate) fn weight(
    config: &BottleneckConfig,
    [d_input, d_output]: [usize; 2],
    init: &mut Init,
    device: &Device,
) -> Result<Matrices, CompacterError> {
    check([d_input, d_output], config.phm_dim)?;
    let (n, rank) = (config.phm_dim, config.phm_rank);
    let (rows, columns) = (d_input / n, d_output / n);
    let fill = |rows: usize, columns: usize| match config.hypercomplex_nonlinearity {
        HypercomplexInit::GlorotUniform => Fill::xavier_uniform(rows, columns),
        HypercomplexInit::GlorotNormal => Fill::Normal { std: (2.0 / (rows as f64 + columns as f64)).sqrt() },
        HypercomplexInit::Normal => Fill::Normal { std: config.phm_init_range },
    };
    if !config.factorized_phm_w {
        return Ok(Matrices::full([n, rows, columns], fill(rows, columns), init, device));
    }
    if rank == 0 {
        return Err(CompacterError::Zero { key: "phm_rank" });
    }
    let fills = [fill(rows, rank), fill(rank, columns)];
    Ok(Matrices::factorized([n, rows, columns], rank, fills, init, device))
}

pub(crate) fn check([d_input, d_output]: [usize; 2], phm_dim: usize) -> Result<(), CompacterError> {
    if phm_dim == 0 {
        return Err(CompacterError::Zero { key: "phm_dim" });
    }
    for (what, size) in [("input size", d_input), ("output size", d_output)] {
        if !size.is_multiple_of(phm_dim) {
            return Err(CompacterError::NotDivisible { what, size, phm_dim });
        }
    }
    Ok(())
}
