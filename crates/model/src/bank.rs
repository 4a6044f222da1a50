//! The named adapters and heads of one base model.

use std::collections::BTreeMap;
use std::ops::Deref;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use burn_adapters_composition::HeadSetup;
use burn_adapters_config::AdapterConfig;
use burn_adapters_core::{Init, Mode, ModelSpec, NameMap};
use burn_adapters_fusion::{Fusion, FusionConfig};
use burn_adapters_heads::{Head, HeadConfig};

use crate::held::Held;
use crate::{
    Adapter, AddReport, BankError, FusionLayers, Hooks, Matrices, Setup, Summary, SummaryRow, learn, supported,
};

/// The named adapters and prediction heads of one base model, which it knows by its [`ModelSpec`] alone.
///
/// A bank is a Burn module: hand it to an optimizer, and the adapters that [`train_only`](Self::train_only) chose are changed.
/// It is shared between threads by reference; each pass has its own [`Setup`]. Cloning a bank is cheap, for tensors are
/// shared. See the [crate] for an example.
///
/// A pass at inference reads the parameters without autodiff: it records no graph, and its result is not on an autodiff
/// device, wherever the bank is.
#[derive(Module, Debug)]
pub struct AdapterBank {
    adapters: NameMap<Held<Adapter>>,
    heads: NameMap<Held<Head>>,
    fusions: NameMap<Held<FusionLayers>>,
    #[module(skip)]
    spec: ModelSpec,
    #[module(skip)]
    device: Device,
}

impl AdapterBank {
    /// A bank without adapters, for a model with these sites. New adapters are put on `device`: an autodiff device
    /// where they are to be trained (the base model may stay on the plain one).
    pub fn new(spec: impl Into<ModelSpec>, device: &Device) -> Self {
        Self {
            adapters: NameMap::default(),
            heads: NameMap::default(),
            fusions: NameMap::default(),
            spec: spec.into(),
            device: device.clone(),
        }
    }

    /// The model that the adapters are for.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// Where new adapters are put.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Adds a new adapter with freshly drawn weights.
    ///
    /// # Errors
    /// If the name is taken or unfit, or the configuration does not fit the model: it names layers or matrices that do
    /// not exist, puts two methods at one site, or would train nothing.
    pub fn add(&mut self, name: &str, config: AdapterConfig) -> Result<AddReport, BankError> {
        self.add_with(name, config, &mut Init::from_entropy())
    }

    /// As [`add`](Self::add), with weights that depend on `seed` alone.
    pub fn add_seeded(&mut self, name: &str, config: AdapterConfig, seed: u64) -> Result<AddReport, BankError> {
        self.add_with(name, config, &mut Init::from_seed(seed))
    }

    fn add_with(&mut self, name: &str, config: AdapterConfig, init: &mut Init) -> Result<AddReport, BankError> {
        self.check_name(name, self.adapters.contains_key(name))?;
        let (adapter, report) = Adapter::build(name, config, &self.spec, init, &self.device)?;
        adapter.check_ready()?;
        self.adapters.insert(name.to_owned(), Held::new(adapter));
        Ok(report)
    }

    /// As [`add_seeded`](Self::add_seeded), for methods that start from the model's weights (DoRA): `model` is the base.
    pub fn add_for(
        &mut self,
        model: &(impl Matrices + ?Sized),
        name: &str,
        config: AdapterConfig,
        seed: u64,
    ) -> Result<AddReport, BankError> {
        self.check_name(name, self.adapters.contains_key(name))?;
        let (mut adapter, report) = Adapter::build(name, config, &self.spec, &mut Init::from_seed(seed), &self.device)?;
        adapter.start_from(model)?;
        adapter.check_ready()?;
        self.adapters.insert(name.to_owned(), Held::new(adapter));
        Ok(report)
    }

    /// As [`add_seeded`](Self::add_seeded), for prompt tuning that starts from a text (`prompt_init='from_string'`).
    ///
    /// # Shapes
    /// - embeddings: the model's word embeddings of the text's tokens, `[tokens, embedding]`
    pub fn add_prompt(
        &mut self,
        name: &str,
        config: AdapterConfig,
        embeddings: Tensor<2>,
        seed: u64,
    ) -> Result<AddReport, BankError> {
        self.check_name(name, self.adapters.contains_key(name))?;
        let (mut adapter, report) = Adapter::build(name, config, &self.spec, &mut Init::from_seed(seed), &self.device)?;
        adapter.start_prompt(embeddings, &self.device)?;
        adapter.check_ready()?;
        self.adapters.insert(name.to_owned(), Held::new(adapter));
        Ok(report)
    }

    /// Builds an adapter without adding it: what would [`add`](Self::add) report?
    pub fn plan(&self, name: &str, config: AdapterConfig) -> Result<(Adapter, AddReport), BankError> {
        Ok(Adapter::build(name, config, &self.spec, &mut Init::from_seed(0), &self.device)?)
    }

    /// Adds an adapter that was built elsewhere (read from a file, averaged, trained).
    pub fn insert(&mut self, adapter: Adapter) -> Result<(), BankError> {
        self.check_name(adapter.name(), self.adapters.contains_key(adapter.name()))?;
        adapter.check_ready()?;
        self.adapters.insert(adapter.name().to_owned(), Held::new(adapter));
        Ok(())
    }

    /// Takes an adapter out.
    pub fn remove(&mut self, name: &str) -> Result<Adapter, BankError> {
        self.adapters.remove(name).map(Held::into_module).ok_or_else(|| self.unknown(name))
    }

    /// The adapter of this name.
    pub fn adapter(&self, name: &str) -> Result<&Adapter, BankError> {
        self.adapters.get(name).map(Deref::deref).ok_or_else(|| self.unknown(name))
    }

    /// The names of the adapters, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.adapters.keys().map(String::as_str)
    }

    /// Adds a new prediction head with freshly drawn weights. A head of an adapter's name is that adapter's head.
    ///
    /// # Errors
    /// If the name is taken by a head or unfit, or the configuration is wrong.
    pub fn add_head(&mut self, name: &str, config: &HeadConfig) -> Result<usize, BankError> {
        self.add_head_with(name, config, &mut Init::from_entropy())
    }

    /// As [`add_head`](Self::add_head), with weights that depend on `seed` alone.
    pub fn add_head_seeded(&mut self, name: &str, config: &HeadConfig, seed: u64) -> Result<usize, BankError> {
        self.add_head_with(name, config, &mut Init::from_seed(seed))
    }

    fn add_head_with(&mut self, name: &str, config: &HeadConfig, init: &mut Init) -> Result<usize, BankError> {
        self.check_name(name, self.heads.contains_key(name))?;
        let spec = &self.spec;
        let head = Head::with_initializer_range(config, spec.hidden_size, spec.initializer_range, init, &self.device)
            .map_err(|source| BankError::Head { name: name.to_owned(), source })?;
        let parameters = head.parameters();
        self.insert_head(name, head)?;
        Ok(parameters)
    }

    /// Adds a head that was built elsewhere (read from a file, trained).
    pub fn insert_head(&mut self, name: &str, head: Head) -> Result<(), BankError> {
        self.check_name(name, self.heads.contains_key(name))?;
        let (expected, found) = (self.spec.hidden_size, head.hidden_size());
        if expected != found {
            return Err(BankError::HeadWidth { name: name.to_owned(), expected, found });
        }
        self.heads.insert(name.to_owned(), Held::new(head.with_model_dropout(self.spec.head_dropout)));
        Ok(())
    }

    /// Takes a head out.
    pub fn remove_head(&mut self, name: &str) -> Result<Head, BankError> {
        self.heads.remove(name).map(Held::into_module).ok_or_else(|| self.unknown_head(name))
    }

    /// The head of this name.
    pub fn head(&self, name: &str) -> Result<&Head, BankError> {
        self.heads.get(name).map(Deref::deref).ok_or_else(|| self.unknown_head(name))
    }

    /// The names of the heads, in alphabetical order.
    pub fn head_names(&self) -> impl Iterator<Item = &str> {
        self.heads.keys().map(String::as_str)
    }

    /// The head that a setup uses: the one it names, or else the one with its adapter's name. For a setup at inference
    /// it is a view without autodiff.
    ///
    /// # Errors
    /// If there is no such head, or the setup uses several: see [`logits`](Self::logits).
    pub fn head_of(&self, setup: &Setup) -> Result<&Head, BankError> {
        self.head_for(&setup.head_name().unwrap_or_default(), setup.mode)
    }

    /// Adds an AdapterFusion over adapters of this bank. Its name in a composition is made of theirs (`a,b`), unless the
    /// `Fuse` names it.
    ///
    /// # Errors
    /// If the name is taken, an adapter does not exist, or none has a bottleneck.
    pub fn add_fusion(
        &mut self,
        name: &str,
        adapters: &[&str],
        config: &FusionConfig,
        seed: u64,
    ) -> Result<usize, BankError> {
        self.check_name(name, self.fusions.contains_key(name))?;
        let fused = adapters.iter().map(|name| self.adapter(name)).collect::<Result<Vec<_>, _>>()?;
        let (dropout, init) = (self.spec.attention_dropout, &mut Init::from_seed(seed));
        let layers = FusionLayers::new(name, &fused, config, &self.spec, dropout, init, &self.device)?;
        let parameters = Module::num_params(&layers);
        self.fusions.insert(name.to_owned(), Held::new(layers));
        Ok(parameters)
    }

    /// Adds a fusion that was built elsewhere (read from a file, trained).
    pub fn insert_fusion(&mut self, name: &str, layers: FusionLayers) -> Result<(), BankError> {
        self.check_name(name, self.fusions.contains_key(name))?;
        self.fusions.insert(name.to_owned(), Held::new(layers));
        Ok(())
    }

    /// The fusion of this name.
    pub fn fusion(&self, name: &str) -> Result<&FusionLayers, BankError> {
        self.held_fusion(name).map(Deref::deref)
    }

    fn held_fusion(&self, name: &str) -> Result<&Held<FusionLayers>, BankError> {
        self.fusions.get(name).ok_or_else(|| BankError::UnknownFusion {
            name: name.to_owned(),
            known: self.fusions.keys().cloned().collect(),
        })
    }

    /// The fusion of this name, for a pass.
    pub(crate) fn fusion_for(&self, name: &str, mode: Mode) -> Result<&FusionLayers, BankError> {
        self.held_fusion(name).map(|fusion| fusion.for_mode(mode))
    }

    /// The head of this name, for a pass.
    pub(crate) fn head_for(&self, name: &str, mode: Mode) -> Result<&Head, BankError> {
        let head = self.heads.get(name).ok_or_else(|| self.unknown_head(name))?;
        Ok(head.for_mode(mode))
    }

    /// The fusion of this name, to change.
    pub fn fusion_mut(&mut self, name: &str) -> Option<&mut FusionLayers> {
        self.fusions.get_mut(name).map(Held::get_mut)
    }

    /// Freezes everything but what a setup trains: its adapters and heads, or with
    /// [`train_fusions`](Setup::train_fusions) its fusions and heads; gives the number of parameters of adapters and
    /// fusions that are left to train.
    ///
    /// # Errors
    /// If the setup names an adapter, fusion or head that does not exist (a missing head of an adapter's name is not an
    /// error), what is to be trained is not on an autodiff device, or an adapter cannot learn: all of its layers are
    /// skipped, or all that it computes is multiplied by 0.
    pub fn train_only(&mut self, setup: &Setup) -> Result<usize, BankError> {
        self.active(setup, Mode::Training)?;
        if let Some(heads) = &setup.heads {
            heads.names().into_iter().try_for_each(|name| self.head(name).map(drop))?;
        }
        self.check_trainable(setup)?;
        let names = setup.adapter_names();
        let heads = setup.heads();
        let heads = heads.as_ref().map(HeadSetup::names).unwrap_or_default();
        let fusions = setup.fusion_names();
        let mut trained = 0;
        self.adapters = std::mem::take(&mut self.adapters)
            .into_iter()
            .map(|(name, adapter)| {
                let chosen = setup.trained.as_ref().is_none_or(|trained| trained.contains(&name));
                let active = !setup.train_fusions && chosen && names.contains(&name.as_str());
                let adapter = adapter.change(|adapter| adapter.set_trained(active));
                trained += if active { adapter.parameters() } else { 0 };
                (name, adapter)
            })
            .collect();
        self.fusions = std::mem::take(&mut self.fusions)
            .into_iter()
            .map(|(name, layers)| {
                let active = setup.train_fusions && fusions.contains(&name);
                trained += if active { Module::num_params(&*layers) } else { 0 };
                (name, layers.set_require_grad(active))
            })
            .collect();
        self.heads = std::mem::take(&mut self.heads)
            .into_iter()
            .map(|(name, head)| {
                let active = heads.contains(&name.as_str());
                (name, head.set_require_grad(active))
            })
            .collect();
        Ok(trained)
    }

    fn check_trainable(&self, setup: &Setup) -> Result<(), BankError> {
        let on_autodiff = |is_plain: bool| if is_plain { Err(BankError::NotAutodiff) } else { Ok(()) };
        if setup.train_fusions {
            return setup.fusion_names().iter().try_for_each(|name| on_autodiff(self.held_fusion(name)?.is_plain()));
        }
        for name in setup.adapter_names() {
            if setup.trained.as_ref().is_some_and(|trained| !trained.iter().any(|trained| trained == name)) {
                continue;
            }
            let adapter = self.adapters.get(name).ok_or_else(|| self.unknown(name))?;
            on_autodiff(adapter.is_plain())?;
            learn::check(adapter, setup, &self.spec)?;
        }
        Ok(())
    }

    /// What is to be added to the loss when the fusions of a setup are trained, so that their value matrices stay near
    /// the identity; none where no fusion of the setup is trained or regularized.
    pub fn regularization_loss(&self, setup: &Setup) -> Option<Tensor<1>> {
        if !setup.train_fusions {
            return None;
        }
        let names = setup.fusion_names();
        let layers = names.iter().filter_map(|name| self.fusions.get(name)).flat_map(|fusion| fusion.layers.values());
        layers.filter_map(Fusion::regularization_loss).reduce(|sum, next| sum + next)
    }

    /// After a step of training: cools the softmax of the trained fusions that have a temperature.
    pub fn cool_fusions(&mut self, setup: &Setup) {
        if !setup.train_fusions {
            return;
        }
        for name in setup.fusion_names() {
            let fusion = self.fusions.get_mut(&name).map(Held::get_mut);
            let layers = fusion.into_iter().flat_map(|fusion| fusion.layers.iter_mut());
            layers.filter(|(_, layer)| layer.config.temperature).for_each(|(_, layer)| layer.cool());
        }
    }

    /// The adapters of a setup, all of which must exist, as a pass reads them.
    fn active(&self, setup: &Setup, mode: Mode) -> Result<BTreeMap<&str, &Adapter>, BankError> {
        let names = setup.adapter_names();
        let adapters = names.into_iter().map(|name| {
            let (name, adapter) = self.adapters.get_key_value(name).ok_or_else(|| self.unknown(name))?;
            Ok((name.as_str(), adapter.for_mode(mode)))
        });
        let adapters = adapters.collect::<Result<BTreeMap<_, _>, BankError>>()?;
        setup.fusion_names().iter().try_for_each(|name| self.fusion(name).map(drop))?;
        if let Some(unknown) = setup.trained.iter().flatten().find(|name| !adapters.contains_key(name.as_str())) {
            let known = adapters.keys().map(|name| (*name).to_owned()).collect();
            return Err(BankError::UnknownAdapter { name: unknown.clone(), known });
        }
        Ok(adapters)
    }

    /// The hooks of one or more forward passes with this setup. At inference they hold the parameters without autodiff
    /// and record no graph; for gradients, with or without dropout, take a setup in [training](Setup::training).
    ///
    /// # Errors
    /// If the setup names an adapter or fusion that does not exist, skips a layer that the model does not have, or
    /// composes adapters in a way that makes no sense.
    pub fn hooks(&self, setup: &Setup) -> Result<Hooks<'_>, BankError> {
        let layers = self.spec.layers();
        if let Some(layer) = setup.skip_layers.iter().copied().find(|layer| *layer >= layers) {
            return Err(BankError::SkippedLayer { layer, layers });
        }
        let active = self.active(setup, setup.mode)?;
        if let Some(composition) = &setup.composition {
            composition.validate()?;
            supported::check(composition, &|name| active.get(name).copied())?;
        }
        Ok(Hooks::new(self, active, setup))
    }

    /// What the bank holds; prints as a table.
    pub fn summary(&self) -> Summary {
        let adapters = self
            .adapters
            .iter()
            .map(|(name, adapter)| SummaryRow {
                name: name.clone(),
                config: adapter.config().to_string(),
                parameters: adapter.parameters(),
                trained: is_trained(adapter),
            })
            .collect();
        Summary { adapters, base_parameters: self.spec.parameters }
    }

    fn check_name(&self, name: &str, taken: bool) -> Result<(), BankError> {
        if name.is_empty() || name.contains('.') || name.chars().any(char::is_control) {
            return Err(BankError::BadName { name: name.to_owned() });
        }
        if taken {
            return Err(BankError::Duplicate { name: name.to_owned() });
        }
        Ok(())
    }

    fn unknown_head(&self, name: &str) -> BankError {
        BankError::UnknownHead { name: name.to_owned(), known: self.heads.keys().cloned().collect() }
    }

    fn unknown(&self, name: &str) -> BankError {
        BankError::UnknownAdapter { name: name.to_owned(), known: self.adapters.keys().cloned().collect() }
    }
}

fn is_trained(adapter: &Adapter) -> bool {
    struct Any(bool);
    impl burn::module::ModuleVisitor for Any {
        fn visit_float<const D: usize>(&mut self, param: &burn::module::Param<burn::tensor::Tensor<D>>) {
            self.0 |= param.lazy_device().is_autodiff() && param.is_require_grad();
        }
    }
    let mut any = Any(false);
    adapter.visit(&mut any);
    any.0
}
