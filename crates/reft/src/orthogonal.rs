//! A matrix whose rows stay orthonormal during training.
//!
//! It mirrors PyTorch's `parametrizations.orthogonal` (the Householder map with a *dynamic trivialization*,
//! Lezcano-Casado, 2019, <https://arxiv.org/abs/1909.09501>) tensor for tensor, so that stored projections mean the
//! same in both libraries and train alike. A projection `R: [r, n]`, `r < n`, is stored as two matrices:
//!
//! - `original: [r, n]`, trained. In row `j`, the elements right of the diagonal are the tail of a Householder vector
//!   `vⱼ = (0, …, 0, 1, original[j, j+1..])`; the diagonal holds the sign `dⱼ` of a row; elements left of it are
//!   ignored.
//! - `base: [n, n]`, orthogonal and not trained.
//!
//! With the reflections `Hⱼ = I − 2 vⱼ vⱼᵀ / vⱼᵀvⱼ`, the projection is `Rᵀ = base · (H₁ H₂ … Hᵣ)[:, ..r] · diag(d)`.
//! A new projection has tails of 0 and signs of −1, which cancel: `R` is the first `r` columns of `base`, transposed.
//!
//! *Difference from PyTorch.* PyTorch truncates the diagonal to an integer, and its weight decay shrinks the diagonal:
//! after one step the projection is 0, and remains 0. Here the signs are not parameters: any change that an optimizer
//! makes to them is undone (see the [`Module::map`] of [`Orthogonal`], which every optimizer uses). Reading a file
//! whose diagonal is neither 1 nor -1 is an error: see [`Orthogonal::check_signs`].

use burn::module::{
    Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor, Param, ParamId,
};
use burn::tensor::{Device, Shape, Tensor, TensorData};
use burn_adapters_core::{Fill, Init};

use crate::ReftError;

/// A projection with orthonormal rows.
#[derive(Clone, Debug)]
pub struct Orthogonal {
    /// The Householder vectors and signs: `[r, hidden]`.
    pub original: Param<Tensor<2>>,
    /// The rotation to start from: `[hidden, hidden]`, not trained.
    pub base: Param<Tensor<2>>,
}

impl Orthogonal {
    /// A random projection, drawn as PyTorch draws it from a linear layer's weight.
    ///
    /// # Errors
    /// If the rank is not below the width.
    pub fn new(r: usize, hidden_size: usize, init: &mut Init, device: &Device) -> Result<Self, ReftError> {
        if r == 0 {
            return Err(ReftError::ZeroRank);
        }
        if r >= hidden_size {
            return Err(ReftError::OrthogonalRank { r, hidden_size });
        }
        let rows = init.param::<2>([r, hidden_size], Fill::kaiming_uniform_sqrt5(hidden_size), device);
        init.count(&[r, hidden_size]);
        init.count(&[hidden_size, hidden_size]);
        let original = Param::uninitialized(
            ParamId::new(),
            move |device: &Device, require_grad: bool| {
                let mut values = vec![0.0; r * hidden_size];
                for row in 0..r {
                    values[row * hidden_size + row] = -1.0;
                }
                let tensor = Tensor::from_data(TensorData::new(values, [r, hidden_size]), device);
                if require_grad { tensor.require_grad() } else { tensor }
            },
            device.clone(),
            true,
            Shape::from([r, hidden_size]),
        );
        let base = Param::uninitialized(
            ParamId::new(),
            move |device: &Device, _: bool| {
                let rows: Vec<f64> = rows.val().into_data().iter().collect();
                let values = complete(&rows, r, hidden_size);
                Tensor::from_data(TensorData::new(values, [hidden_size, hidden_size]), device)
            },
            device.clone(),
            false,
            Shape::from([hidden_size, hidden_size]),
        );
        Ok(Self { original, base })
    }

    /// The projection, `R: [r, hidden]`.
    pub fn weight(&self) -> Tensor<2> {
        let original = self.original.val();
        let [r, _] = original.dims();
        let identity = identity_like(&original);
        let signs = (original.clone().without_autodiff() * identity.clone()).sum_dim(1).sign();
        let reflectors = original.triu(1) + identity.clone();
        // The rows of (H₁ … Hᵣ)[:, ..r]ᵀ: those of the identity, reflected by Hᵣ first and by H₁ last.
        let mut rows = identity;
        for index in (0..r).rev() {
            let reflector = reflectors.clone().narrow(0, index, 1);
            let scale = (reflector.clone() * reflector.clone()).sum_dim(1).recip() * 2.0;
            let along = rows.clone().matmul(reflector.clone().transpose()) * scale;
            rows = rows - along.matmul(reflector);
        }
        (rows * signs).matmul(self.base.val().transpose())
    }

    /// The number of trained parameters: the elements of `original`, as PyTorch counts them.
    pub fn num_trained(&self) -> usize {
        self.original.lazy_shape().num_elements()
    }

    /// Checks the signs of a projection that was read from a file.
    ///
    /// # Errors
    /// If the diagonal of `original` has elements other than 1 and −1.
    pub fn check_signs(&self) -> Result<(), ReftError> {
        let original = self.original.val();
        let [r, hidden_size] = original.dims();
        let values: Vec<f32> = original.into_data().iter().collect();
        for row in 0..r {
            let found = values[row * hidden_size + row];
            if found.abs() != 1.0 {
                return Err(ReftError::BrokenSign { row, found });
            }
        }
        Ok(())
    }

    /// The same projection with a diagonal of 1 and −1; other values are replaced by the nearest sign.
    #[must_use]
    pub fn with_whole_signs(mut self) -> Self {
        self.original = self.original.map(|original| {
            let before = original.clone().without_autodiff();
            keep_signs(original, before)
        });
        self
    }
}

const CONTAINER: &str = "Struct:Orthogonal";

/// Like the derived implementation, except that changes of the parameters do not change signs.
impl Module for Orthogonal {
    fn collect_devices(&self, devices: Devices) -> Devices {
        self.base.collect_devices(self.original.collect_devices(devices))
    }

    fn fork(self, device: &Device) -> Self {
        Self { original: self.original.fork(device), base: self.base.fork(device) }
    }

    fn to_device(self, device: &Device) -> Self {
        Self { original: self.original.to_device(device), base: self.base.to_device(device) }
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        for (name, param) in [("original", &self.original), ("base", &self.base)] {
            visitor.enter_module(name, CONTAINER);
            param.visit(visitor);
            visitor.exit_module(name, CONTAINER);
        }
    }

    fn map<P: ModuleMapper>(self, mapper: &mut P) -> Self {
        // Parameters that were never drawn have no signs to keep: they are about to be read from a file.
        let before = self.original.is_initialized().then(|| self.original.val().without_autodiff());
        let mut map = |name: &str, param: Param<Tensor<2>>| {
            mapper.enter_module(name, CONTAINER);
            let param = Module::map(param, mapper);
            mapper.exit_module(name, CONTAINER);
            param
        };
        let (original, base) = (map("original", self.original), map("base", self.base));
        let original = match before {
            Some(before) => original.map(|original| keep_signs(original, before)),
            None => original,
        };
        Self { original, base }
    }

    fn train(self) -> Self {
        Self { original: self.original.train(), base: self.base.train() }
    }

    fn valid(&self) -> Self {
        Self { original: self.original.valid(), base: self.base.valid() }
    }

    fn materialize(self) -> Self {
        Self { original: self.original.materialize(), base: self.base.materialize() }
    }
}

impl ModuleDisplayDefault for Orthogonal {
    fn content(&self, content: Content) -> Option<Content> {
        content.add("original", &self.original).add("base", &self.base).optional()
    }
}

impl ModuleDisplay for Orthogonal {}

/// 1 on the diagonal, 0 elsewhere.
fn identity_like(matrix: &Tensor<2>) -> Tensor<2> {
    let ones = matrix.clone().without_autodiff().ones_like();
    ones.clone().triu(0) - ones.triu(1)
}

/// `after` with a valid diagonal: 1 or -1 was set on purpose, and any other value is replaced by the sign of `before`.
fn keep_signs(after: Tensor<2>, before: Tensor<2>) -> Tensor<2> {
    let (trained, on_autodiff) = (after.is_require_grad(), after.is_autodiff());
    let strategy = after.gradient_checkpointing_strategy();
    let inner = after.without_autodiff();
    let identity = identity_like(&inner);
    let before = before.to_device(&inner.device()).cast(inner.dtype());
    let whole = inner.clone().abs().equal_elem(1.0).float().cast(inner.dtype());
    let moved = (identity.clone() - identity * whole).greater_elem(0.5);
    let mut kept = inner.mask_where(moved, before.sign());
    if !on_autodiff {
        return kept;
    }
    kept = kept.autodiff();
    if let Some(strategy) = strategy {
        kept = kept.with_gradient_checkpointing_strategy(strategy);
    }
    kept.set_require_grad(trained)
}

/// Orthonormalizes the `r` rows of length `n` and completes them, as columns, to an orthogonal `[n, n]` matrix: the `Q`
/// of the QR decomposition by Householder reflections, with signs such that `R` has a positive diagonal.
fn complete(rows: &[f64], r: usize, n: usize) -> Vec<f32> {
    let mut columns: Vec<Vec<f64>> = rows.chunks(n).map(<[f64]>::to_vec).collect();
    let mut reflectors: Vec<Vec<f64>> = Vec::with_capacity(r);
    let mut signs = Vec::with_capacity(r);
    for index in 0..r {
        let mut reflector = vec![0.0; n];
        reflector[index..].copy_from_slice(&columns[index][index..]);
        let length = norm(&reflector);
        // Reflect away from the axis, which avoids cancellation; the diagonal of R then has the opposite sign.
        let towards = if reflector[index] < 0.0 { 1.0 } else { -1.0 };
        reflector[index] -= towards * length;
        for column in &mut columns[index..] {
            reflect(&reflector, column);
        }
        signs.push(towards);
        reflectors.push(reflector);
    }
    let mut base = vec![0.0_f32; n * n];
    for index in 0..n {
        let mut column = vec![0.0; n];
        column[index] = signs.get(index).copied().unwrap_or(1.0);
        for reflector in reflectors.iter().rev() {
            reflect(reflector, &mut column);
        }
        for (row, value) in column.into_iter().enumerate() {
            base[row * n + index] = value as f32;
        }
    }
    base
}

fn norm(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum::<f64>().sqrt()
}

/// `x − 2 v (v·x) / (v·v)`.
fn reflect(v: &[f64], x: &mut [f64]) {
    let square: f64 = v.iter().map(|value| value * value).sum();
    if square == 0.0 {
        return;
    }
    let along = 2.0 * v.iter().zip(x.iter()).map(|(v, x)| v * x).sum::<f64>() / square;
    for (x, v) in x.iter_mut().zip(v) {
        *x -= along * v;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::tensor::Tolerance;

    use super::*;

    fn assert_orthonormal(rows: Tensor<2>) {
        let [r, _] = rows.dims();
        let product = rows.clone().matmul(rows.transpose());
        let identity = Tensor::<2>::eye(r, &product.device());
        product.into_data().assert_approx_eq::<f32>(&identity.into_data(), Tolerance::absolute(1e-5));
    }

    #[test]
    fn a_new_projection_is_orthonormal_and_its_base_too() {
        let projection = Orthogonal::new(3, 7, &mut Init::from_seed(1), &Device::default()).unwrap();
        assert_orthonormal(projection.weight());
        assert_orthonormal(projection.base.val());
        projection.check_signs().unwrap();
    }

    #[test]
    fn rows_are_orthonormalized_in_order_with_a_positive_diagonal() {
        let base = complete(&[3.0, 0.0, 4.0, 0.0, -2.0, 0.0], 2, 3);
        let first: Vec<f32> = base.iter().step_by(3).copied().collect();
        let second: Vec<f32> = base.iter().skip(1).step_by(3).copied().collect();
        for (found, expected) in first.iter().chain(&second).zip([0.6, 0.0, 0.8, 0.0, -1.0, 0.0]) {
            assert!((found - expected).abs() < 1e-6, "{first:?} {second:?}");
        }
    }

    #[test]
    fn any_parameters_give_an_orthonormal_projection() {
        let device = Device::default();
        let mut init = Init::from_seed(2);
        let mut projection = Orthogonal::new(3, 6, &mut init, &device).unwrap();
        projection.original = init.param([3, 6], Fill::Normal { std: 2.0 }, &device);
        assert_orthonormal(projection.weight());
    }

    #[test]
    fn a_diagonal_shrunk_by_weight_decay_keeps_the_projection_but_is_found_and_mended() {
        let mut projection = Orthogonal::new(2, 5, &mut Init::from_seed(3), &Device::default()).unwrap();
        let before = projection.weight().into_data();
        // Read now: some backends read data lazily, after the change.
        let _ = before.as_bytes();
        projection.original = projection.original.map(|original| original * 0.5);
        assert_eq!(projection.weight().into_data(), before);
        assert_eq!(projection.check_signs(), Err(ReftError::BrokenSign { row: 0, found: -0.5 }));
        let mended = projection.with_whole_signs();
        mended.check_signs().unwrap();
        assert_eq!(mended.weight().into_data(), before);
    }

    #[test]
    fn an_optimizer_with_decay_moves_no_sign() {
        use burn::optim::{AdamWConfig, GradientsParams};
        let device = Device::default().autodiff();
        let mut projection = Orthogonal::new(2, 5, &mut Init::from_seed(3), &device).unwrap();
        let mut optimizer = AdamWConfig::new().with_weight_decay(1.0).init();
        for _ in 0..3 {
            let loss = projection.weight().narrow(1, 0, 1).powi_scalar(2).sum();
            let gradients = GradientsParams::from_grads(loss.backward(), &projection);
            projection = optimizer.step(0.5, projection, gradients);
            projection.check_signs().unwrap();
            assert!(projection.original.is_require_grad());
        }
    }

    #[test]
    fn the_rank_must_be_below_the_width() {
        let error = Orthogonal::new(4, 4, &mut Init::from_seed(1), &Device::default()).unwrap_err();
        assert_eq!(error, ReftError::OrthogonalRank { r: 4, hidden_size: 4 });
    }
}
