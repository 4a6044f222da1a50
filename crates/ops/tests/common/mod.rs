//! Comparison of a function with Burn's own operations, forward and backward.
#![allow(unreachable_pub)]

use burn::tensor::{Device, Distribution, Tensor};

pub fn tracked<const D: usize>(tensor: &Tensor<D>) -> Tensor<D> {
    Tensor::from_data(tensor.to_data(), &Device::default().autodiff()).require_grad()
}

/// Compares with a bound that is relative to the largest element.
#[track_caller]
pub fn close<const D: usize>(bound: f32, ours: Tensor<D>, theirs: Tensor<D>) {
    assert_eq!(ours.dims(), theirs.dims());
    let ours = ours.into_data().try_to_vec::<f32>().unwrap();
    let theirs = theirs.into_data().try_to_vec::<f32>().unwrap();
    let largest = theirs.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert!((ours - theirs).abs() <= bound * largest, "{ours} is not {theirs} (largest: {largest})");
    }
}

/// The outputs and all gradients of two functions, for an arbitrary output gradient with this standard deviation.
#[track_caller]
pub fn same<const N: usize, const D: usize, const O: usize>(
    (bound, deviation): (f32, f64),
    inputs: [Tensor<D>; N],
    ours: impl Fn([Tensor<D>; N]) -> Tensor<O>,
    theirs: impl Fn([Tensor<D>; N]) -> Tensor<O>,
) {
    let plain = ours(inputs.clone());
    assert!(!plain.is_autodiff());
    let weight = Tensor::random(plain.dims(), Distribution::Normal(0.0, deviation), &Device::default());
    let run = |function: &dyn Fn([Tensor<D>; N]) -> Tensor<O>| {
        let leaves = inputs.each_ref().map(tracked);
        let output = function(leaves.clone());
        let gradients = (output.clone() * weight.clone()).sum().backward();
        (output.inner(), leaves.map(|leaf| leaf.grad(&gradients).unwrap()))
    };
    let ((our_output, our_gradients), (output, gradients)) = (run(&ours), run(&theirs));
    close(bound, plain, output.clone());
    close(bound, our_output, output);
    for (ours, theirs) in our_gradients.into_iter().zip(gradients) {
        close(bound, ours, theirs);
    }
}
