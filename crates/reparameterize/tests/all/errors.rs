//! Errors, and that they leave the module unchanged.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::common::{METHODS, Model, adapted, data, input, lora_config, parameters, targets};
use burn::module::{Devices, Lora, Module, ModuleMapper, ModuleVisitor, Param, ParamGroup};
use burn::tensor::{Device, Tensor};
use burn_adapters_config::LoraConfig;
use burn_adapters_reparameterize::{SkipReason, Targets, WeightAdapterError, WeightAdapters};

fn refused(targets: &Targets, config: &str) -> WeightAdapterError {
    let mut model = Model::new(&Device::default());
    let before = parameters(&model);
    let error = model.add_adapter("a", targets, &lora_config(config)).unwrap_err();
    assert_eq!(parameters(&model), before);
    assert!(model.adapter_names().is_empty());
    error
}

#[test]
fn a_choice_that_matches_nothing_names_the_matrices_that_there_are() {
    let error = refused(&Targets::regex(r"attention\.query").unwrap(), "lora");
    let text = error.to_string();
    assert!(text.starts_with(r"the pattern `attention\.query` matched no matrix; the module's matrices are"), "{text}");
    assert!(text.contains("`layers.0.query.weight`"), "{text}");
    let error = refused(&Targets::matching(|path| path.ends_with("bias")), "lora");
    assert!(error.to_string().contains("(it matched `layers.0.query.bias`, which is not a matrix but of shape [8]"));
    let WeightAdapterError::NothingMatched { skipped, .. } = error else { panic!() };
    assert_eq!(skipped.len(), 8);
}

#[test]
fn a_pattern_that_is_none_is_an_error() {
    assert!(matches!(Targets::regex("("), Err(WeightAdapterError::Pattern { pattern, .. }) if pattern == "("));
}

#[test]
fn named_parameters_must_be_there_and_fit() {
    let error = refused(&Targets::paths(["layers.0.query.weight", "layers.2.query.weight"]), "lora");
    assert!(matches!(error, WeightAdapterError::NoSuchParameter { paths } if paths == ["layers.2.query.weight"]));
    let error = refused(&Targets::paths(["layers.0.query.weight", "layers.0.query.bias"]), "lora");
    let WeightAdapterError::NotAdaptable { skipped } = error else { panic!("{error}") };
    assert_eq!(skipped.reason, SkipReason::Rank { shape: vec![8] });

    let mut embedding = burn::nn::EmbeddingConfig::new(10, 4).init(&Device::default());
    let error = embedding.add_adapter("a", &Targets::paths(["weight"]), &LoraConfig::new(2)).unwrap_err();
    let WeightAdapterError::NotAdaptable { skipped } = error else { panic!("{error}") };
    assert_eq!(skipped.reason, SkipReason::Embedding);
}

#[test]
fn a_parameter_with_a_reparameterization_of_another_kind_is_refused() {
    let group = || ParamGroup::from_regex(r"layers\.0\.query\.weight$").unwrap();
    let mut model = Model::new(&Device::default()).apply_lora(Lora::new(2, 2.0).set_param_group(group()));
    let error = model.add_adapter("a", &targets(), &LoraConfig::new(2)).unwrap_err();
    let WeightAdapterError::Occupied { path, found } = error else { panic!("{error}") };
    assert_eq!((path.as_str(), found.as_str()), ("layers.0.query.weight", "lora"));

    // Adapters can be added beside it, but not merged or detached separately.
    model.add_adapter("a", &Targets::regex(r"value\.weight").unwrap(), &LoraConfig::new(2)).unwrap();
    assert!(matches!(model.merged_adapter("a"), Err(WeightAdapterError::Foreign { found, .. }) if found == "lora"));
    assert!(matches!(model.without_adapters(), Err(WeightAdapterError::Foreign { .. })));
    assert!(model.layers[0].query.weight.adapter().is_some());
    let x = input(1, &Device::default());
    let before = data(model.forward(x.clone()));
    model.remove_adapter("a").unwrap();
    assert!(model.adapter_names().is_empty());
    assert_eq!(data(model.forward(x)), before);

    // The bias that would be scaled counts too.
    let bias = ParamGroup::from_regex(r"layers\.0\.value\.bias$").unwrap();
    struct Noop(ParamGroup);
    impl burn::module::Reparameterizer for Noop {
        type Reparam = Shift;
        fn reparameterize<const D: usize>(
            &mut self,
            path: &str,
            param: Param<Tensor<D>>,
        ) -> (Param<Tensor<D>>, Option<Shift>) {
            let chosen = self.0.matches(&param.id, Some(path));
            (param, chosen.then_some(Shift { by: 0.0 }))
        }
    }
    let mut model = Model::new(&Device::default()).apply_reparameterization(Noop(bias));
    let error = model.add_adapter("a", &targets(), &LoraConfig::ia3()).unwrap_err();
    assert!(matches!(error, WeightAdapterError::Occupied { path, .. } if path == "layers.0.value.bias"));
}

#[derive(Module, Debug)]
struct Shift {
    by: f64,
}

impl burn::module::Reparameterization for Shift {
    // Not ours, in spite of its name.
    const NAME: &'static str = "adapters";

    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        base + self.by
    }
}

#[test]
fn names_are_checked() {
    let mut model = adapted(&Model::new(&Device::default()), METHODS[0]);
    for name in ["", "a.b", "a\nb"] {
        let error = model.add_adapter(name, &targets(), &LoraConfig::new(2)).unwrap_err();
        assert!(matches!(error, WeightAdapterError::BadName { .. }), "{error}");
    }
    // Taken, even where the parameters are others.
    let down = Targets::regex(r"down\.weight").unwrap();
    let error = model.add_adapter("a", &down, &LoraConfig::new(2)).unwrap_err();
    assert!(matches!(error, WeightAdapterError::Duplicate { name } if name == "a"));

    let unknown = |result: Result<(), WeightAdapterError>| {
        let error = result.unwrap_err();
        assert_eq!(error.to_string(), "the module has no adapter `b`; it has `a`");
        assert!(matches!(error, WeightAdapterError::UnknownAdapter { known, .. } if known == ["a"]));
    };
    unknown(model.activate_adapter("b"));
    unknown(model.remove_adapter("b"));
    unknown(model.train_only_adapter("b").map(drop));
    unknown(model.merged_adapter("b").map(drop));
    unknown(model.save_adapter("b", "unused").map(drop));
    assert_eq!(model.active_adapter().as_deref(), Some("a"));
}

#[test]
fn what_has_no_meaning_on_weights_is_refused() {
    for (config, expected) in [
        ("lora[use_gating=True]", "use_gating"),
        ("mtl_lora", "mtl"),
        ("lora[leave_out=[0]]", "leave_out"),
        ("lora[dtype='float16']", "dtype"),
    ] {
        let error = refused(&targets(), config);
        assert!(matches!(error, WeightAdapterError::Unsupported { key, .. } if key == expected), "{error}");
    }
}

#[test]
fn a_wrong_configuration_is_refused() {
    let mut model = Model::new(&Device::default());
    for config in [LoraConfig { r: 0, ..LoraConfig::lora() }, LoraConfig { r: 2, ..LoraConfig::ia3() }] {
        let error = model.add_adapter("a", &targets(), &config).unwrap_err();
        assert!(matches!(error, WeightAdapterError::Config(_)), "{error:?}");
    }
}

/// A module that does not name its parameters.
#[derive(Debug, Clone)]
struct Nameless(Param<Tensor<2>>, Param<Tensor<2>>);

impl Module for Nameless {
    fn collect_devices(&self, devices: Devices) -> Devices {
        self.1.collect_devices(self.0.collect_devices(devices))
    }
    fn fork(self, device: &Device) -> Self {
        Self(self.0.fork(device), self.1.fork(device))
    }
    fn to_device(self, device: &Device) -> Self {
        Self(self.0.to_device(device), self.1.to_device(device))
    }
    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        self.0.visit(visitor);
        self.1.visit(visitor);
    }
    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        Self(Module::map(self.0, mapper), Module::map(self.1, mapper))
    }
    fn train(self) -> Self {
        Self(self.0.train(), self.1.train())
    }
    fn valid(&self) -> Self {
        Self(self.0.valid(), self.1.valid())
    }
    fn materialize(self) -> Self {
        Self(self.0.materialize(), self.1.materialize())
    }
}

#[test]
fn parameters_that_cannot_be_told_apart_are_refused() {
    let matrix = || Param::from_tensor(Tensor::<2>::ones([3, 2], &Device::default()));
    let mut model = Nameless(matrix(), matrix());
    let error = model.add_adapter("a", &ParamGroup::all().into(), &LoraConfig::new(2)).unwrap_err();
    assert!(matches!(error, WeightAdapterError::AmbiguousPath { ref path } if path.is_empty()), "{error}");
}
