//! The named adapters and heads of one base model.

use std::collections::BTreeMap;
use std::ops::Deref;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use burn_adapters_composition::HeadSetup;
use burn_adapters_config::AdapterConfig;
use burn_adapters_core::{Init, Mode, ModelSpec, NameMap};
use burn_adapters_fusion::{Fusion, FusionConfig};
use burn_adapters_heads::{Head, HeadConfig, HeadError};

use crate::held::Held;
use crate::{
    Adapter, AddReport, BankError, BaseModel, FusionLayers, Hooks, Matrices, Setup, Summary, SummaryRow, learn,
    supported,
};

/// Named adapters, fusions and prediction heads for one base model, of which the bank knows only the [`ModelSpec`].
///
/// A bank is a Burn module: an optimizer that is given a bank changes the adapters that [`train_only`](Self::train_only)
/// selected. Threads share a bank by reference; each pass has its own [`Setup`]. Cloning is cheap because tensors are
/// shared. See the [crate] for an example.
///
/// At inference, passes read the parameters without autodiff: they record no graph, and their results are not on an
/// autodiff device even if the bank is.
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
    /// An empty bank for a model with these sites. New adapters are created on `device`; to train them, use an autodiff
    /// device. The base model can stay on the plain device.
    pub fn new(spec: impl Into<ModelSpec>, device: &Device) -> Self {
        Self {
            adapters: NameMap::default(),
            heads: NameMap::default(),
            fusions: NameMap::default(),
            spec: spec.into(),
            device: device.clone(),
        }
    }

    /// The specification of the base model.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// The device of new adapters.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Adds a new adapter with freshly drawn weights.
    ///
    /// # Errors
    /// If the name is taken or invalid, or the configuration does not fit the model: it names layers or matrices that do
    /// not exist, puts two methods at one site, or would train nothing.
    pub fn add(&mut self, name: &str, config: AdapterConfig) -> Result<AddReport, BankError> {
        self.add_with(name, config, &mut Init::from_entropy())
    }

    /// Like [`add`](Self::add), with weights determined by `seed`.
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

    /// Like [`add_seeded`](Self::add_seeded), for methods that start from the weights of the base model (DoRA).
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

    /// Like [`add_seeded`](Self::add_seeded), for prompt tuning that starts from a text (`prompt_init='from_string'`).
    ///
    /// # Shapes
    /// - embeddings: the word embeddings of the text's tokens, `[tokens, embedding]`
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

    /// Builds an adapter without adding it, to see what [`add`](Self::add) would report.
    pub fn plan(&self, name: &str, config: AdapterConfig) -> Result<(Adapter, AddReport), BankError> {
        Ok(Adapter::build(name, config, &self.spec, &mut Init::from_seed(0), &self.device)?)
    }

    /// Adds an existing adapter (loaded, averaged, or trained elsewhere).
    pub fn insert(&mut self, adapter: Adapter) -> Result<(), BankError> {
        self.check_name(adapter.name(), self.adapters.contains_key(adapter.name()))?;
        adapter.check_ready()?;
        self.adapters.insert(adapter.name().to_owned(), Held::new(adapter));
        Ok(())
    }

    /// Removes an adapter and returns it.
    pub fn remove(&mut self, name: &str) -> Result<Adapter, BankError> {
        self.adapters.remove(name).map(Held::into_module).ok_or_else(|| self.unknown(name))
    }

    /// The adapter with this name.
    pub fn adapter(&self, name: &str) -> Result<&Adapter, BankError> {
        self.adapters.get(name).map(Deref::deref).ok_or_else(|| self.unknown(name))
    }

    /// The names of the adapters, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.adapters.keys().map(String::as_str)
    }

    /// Adds a new prediction head with freshly drawn weights. A head with the name of an adapter belongs to that adapter.
    ///
    /// # Errors
    /// If another head has the name, the name is invalid, or the configuration is wrong.
    pub fn add_head(&mut self, name: &str, config: &HeadConfig) -> Result<usize, BankError> {
        self.add_head_with(name, config, &mut Init::from_entropy())
    }

    /// Like [`add_head`](Self::add_head), with weights determined by `seed`.
    pub fn add_head_seeded(&mut self, name: &str, config: &HeadConfig, seed: u64) -> Result<usize, BankError> {
        self.add_head_with(name, config, &mut Init::from_seed(seed))
    }

    fn add_head_with(&mut self, name: &str, config: &HeadConfig, init: &mut Init) -> Result<usize, BankError> {
        self.check_name(name, self.heads.contains_key(name))?;
        let spec = &self.spec;
        let head = Head::with_initializer_range(config, spec.hidden_size, spec.initializer_range, init, &self.device)
            .map_err(|source| BankError::Head { name: name.to_owned(), source })?;
        self.insert_head(name, head)?;
        Ok(self.head(name)?.parameters())
    }

    /// Adds a language-model head that is the model's own output layer, frozen ([`Head::of_model`]). A model that has one
    /// ([`Forward::has_token_logits`](crate::Forward::has_token_logits)) needs no new head.
    ///
    /// # Errors
    /// If another head has the name, the name is invalid, or the configuration is not that of a language-model head.
    pub fn add_model_head(&mut self, name: &str, config: &HeadConfig) -> Result<(), BankError> {
        let head = Head::of_model(config, self.spec.hidden_size, &self.device)
            .map_err(|source| BankError::Head { name: name.to_owned(), source })?;
        self.insert_head(name, head)
    }

    /// Adds an existing head (loaded or trained elsewhere).
    pub fn insert_head(&mut self, name: &str, head: Head) -> Result<(), BankError> {
        self.check_name(name, self.heads.contains_key(name))?;
        let (expected, found) = (self.spec.hidden_size, head.hidden_size());
        if expected != found {
            return Err(BankError::HeadWidth { name: name.to_owned(), expected, found });
        }
        let head = head.with_model_dropout(self.spec.head_dropout).with_output_layer(self.spec.output_layer);
        self.heads.insert(name.to_owned(), Held::new(head));
        Ok(())
    }

    /// Sets the model's table of word embeddings as the matrix of the last layer of language-model heads, in models
    /// where the two are the same. Heads and model share its memory, and it stays frozen.
    ///
    /// # Errors
    /// If a head needs the table and the model has none, or it is of another shape.
    pub fn tie_heads(&mut self, model: &(impl BaseModel + ?Sized)) -> Result<(), BankError> {
        if !self.heads.values().any(|head| head.is_tied()) {
            return Ok(());
        }
        let words = model.word_table();
        for (name, head) in self.heads.iter_mut().filter(|(_, head)| head.is_tied()) {
            let failed = |source| BankError::Head { name: name.clone(), source };
            let words = words.as_ref().ok_or_else(|| failed(HeadError::NotTied))?;
            head.get_mut().tie(words).map_err(failed)?;
        }
        Ok(())
    }

    /// Removes a head and returns it.
    pub fn remove_head(&mut self, name: &str) -> Result<Head, BankError> {
        self.heads.remove(name).map(Held::into_module).ok_or_else(|| self.unknown_head(name))
    }

    /// The head with this name.
    pub fn head(&self, name: &str) -> Result<&Head, BankError> {
        self.heads.get(name).map(Deref::deref).ok_or_else(|| self.unknown_head(name))
    }

    /// The names of the heads, in alphabetical order.
    pub fn head_names(&self) -> impl Iterator<Item = &str> {
        self.heads.keys().map(String::as_str)
    }

    /// The head of a setup: the one that it names, otherwise the one with the name of its adapter. For a setup at
    /// inference this is a view without autodiff.
    ///
    /// # Errors
    /// If there is no such head, or the setup uses several heads; see [`logits`](Self::logits).
    pub fn head_of(&self, setup: &Setup) -> Result<&Head, BankError> {
        self.head_for(&setup.head_name().unwrap_or_default(), setup.mode)
    }

    /// Adds an AdapterFusion over adapters of this bank. In a composition its name is the names of the adapters joined by
    /// commas (`a,b`), unless the `Fuse` gives a name.
    ///
    /// # Errors
    /// If the name is taken, an adapter does not exist, or no adapter has a bottleneck.
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

    /// Adds an existing fusion (loaded or trained elsewhere).
    pub fn insert_fusion(&mut self, name: &str, layers: FusionLayers) -> Result<(), BankError> {
        self.check_name(name, self.fusions.contains_key(name))?;
        self.fusions.insert(name.to_owned(), Held::new(layers));
        Ok(())
    }

    /// The fusion with this name.
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

    /// Mutable access to the fusion with this name.
    pub fn fusion_mut(&mut self, name: &str) -> Option<&mut FusionLayers> {
        self.fusions.get_mut(name).map(Held::get_mut)
    }

    /// Freezes everything that a setup does not train. A setup trains its adapters and heads, or with
    /// [`train_fusions`](Setup::train_fusions) its fusions and heads. Returns the number of trainable parameters in adapters
    /// and fusions.
    ///
    /// # Errors
    /// If the setup names an adapter, fusion or head that does not exist (an adapter without a head is not an error), if the
    /// parameters to train are not on an autodiff device, or if an adapter cannot learn because all of its layers are
    /// skipped or its output is multiplied by 0.
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
                (name, head.change(|head| head.set_trained(active)))
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

    /// The regularization term that keeps the value matrices of trained fusions near the identity; add it to the loss.
    /// `None` if the setup trains no fusion, or none of its fusions is regularized.
    pub fn regularization_loss(&self, setup: &Setup) -> Option<Tensor<1>> {
        if !setup.train_fusions {
            return None;
        }
        let names = setup.fusion_names();
        let layers = names.iter().filter_map(|name| self.fusions.get(name)).flat_map(|fusion| fusion.layers.values());
        layers.filter_map(Fusion::regularization_loss).reduce(|sum, next| sum + next)
    }

    /// Lowers the softmax temperature of the trained fusions that have one. Call it after each training step.
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

    /// The hooks for forward passes with this setup. At inference they hold the parameters without autodiff and record no
    /// graph. For gradients, with or without dropout, use a setup in [training](Setup::training).
    ///
    /// # Errors
    /// If the setup names an adapter or fusion that does not exist, skips a layer that the model does not have, or
    /// contains an invalid composition.
    pub fn hooks(&self, setup: &Setup) -> Result<Hooks<'_>, BankError> {
        let layers = self.spec.layer_numbers();
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

    /// A summary of the bank's contents, which prints as a table.
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
