//! A named adapter: its configuration, and its modules at every site.

use burn::module::{Module, Param, ParamId};
use burn::nn::Linear;
use burn::tensor::{Device, Tensor};
use burn_adapters_bottleneck::Bottleneck;
use burn_adapters_compacter::SharedPhm;
use burn_adapters_config::{AdapterConfig, MethodConfig};
use burn_adapters_core::{Init, ModelSpec, NameMap, Site, SiteMap};
use burn_adapters_ia3::Ia3;
use burn_adapters_invertible::Invertible;
use burn_adapters_lora::{Lora, MtlLoraModule, Vera, VeraShared};
use burn_adapters_prefix_tuning::PrefixTuning;
use burn_adapters_prompt_tuning::PromptTuning;
use burn_adapters_reft::Reft;
use burn_adapters_tensors::{ModulePath, ParameterMapper, map_parameters, parameters};

use crate::build::build;
use crate::{AddReport, BuildError};

/// An adapter of a model: a Burn module that holds its trained parameters and nothing else.
#[derive(Module, Debug)]
pub struct Adapter {
    /// Bottlenecks at the ends of sublayers.
    pub bottleneck: SiteMap<Bottleneck>,
    /// The parameters that the PHM layers of the bottlenecks share (Compacter).
    pub phm_shared: Option<SharedPhm>,
    /// The invertible adapter after the embeddings.
    pub invertible: Option<Invertible>,
    /// The prefixes, by the kind of attention.
    pub prefix: NameMap<PrefixTuning>,
    /// The prompt.
    pub prompt: Option<PromptTuning>,
    /// Interventions at the ends of layers.
    pub reft: SiteMap<Reft>,
    /// LoRA (and DoRA) modules at matrices.
    pub lora: SiteMap<Lora>,
    /// VeRA (and DVoRA) modules at matrices.
    pub vera: SiteMap<Vera>,
    /// The frozen matrices that the VeRA modules share.
    pub vera_shared: Option<VeraShared>,
    /// MTL-LoRA modules at matrices.
    pub mtl: SiteMap<MtlLoraModule>,
    /// (IA)³ modules at matrices.
    pub ia3: SiteMap<Ia3>,
    #[module(skip)]
    pub(crate) prompt_is_unset: bool,
    #[module(skip)]
    pub(crate) name: String,
    #[module(skip)]
    pub(crate) config: AdapterConfig,
}

impl Adapter {
    /// The adapter's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The adapter's configuration.
    pub fn config(&self) -> &AdapterConfig {
        &self.config
    }

    /// Every site at which the adapter acts; a site may occur more than once.
    pub fn sites(&self) -> impl Iterator<Item = Site> {
        let prefixes = self.prefix.values().flat_map(|prefix| prefix.group.sites.iter());
        (self.bottleneck.keys())
            .chain(self.lora.keys())
            .chain(self.vera.keys())
            .chain(self.mtl.keys())
            .chain(self.ia3.keys())
            .chain(self.reft.keys())
            .chain(prefixes)
            .copied()
    }

    /// Whether the adapter treats each position of a sequence independently, apart from its effect on keys and values.
    /// That is, it has no gates, which average over the sequence, and no interventions at selected positions.
    pub fn is_positionwise(&self) -> bool {
        self.reft.is_empty()
            && self.bottleneck.values().all(|module| module.gate.is_none())
            && self.lora.values().all(|module| module.gate.is_none())
            && self.vera.values().all(|module| module.gate.is_none())
            && self.mtl.values().all(|module| module.gate.is_none())
            && self.ia3.values().all(|module| module.gate.is_none())
    }

    /// The number of trained parameters.
    pub fn parameters(&self) -> usize {
        let all = count(self, &self.frozen());
        let reft: usize = self.reft.values().map(|reft| count(reft, &[]) - reft.num_trained()).sum();
        all - reft
    }

    /// The parameters that are never trained: VeRA's random matrices, PHM rules without `learn_phm`, the bases of
    /// orthogonal projections.
    fn frozen(&self) -> Vec<ParamId> {
        let mut frozen: Vec<ParamId> = self.bottleneck.values().flat_map(Bottleneck::frozen).collect();
        frozen.extend(self.phm_shared.iter().flat_map(SharedPhm::frozen));
        frozen.extend(self.vera_shared.iter().flat_map(|shared| [shared.a.id, shared.b.id]));
        frozen
    }

    /// Records that all parameters were read from a file, so none must be initialized from a model's weights.
    pub fn mark_loaded(&mut self) {
        self.prompt_is_unset = false;
        let loras = self.lora.iter_mut().filter_map(|(_, lora)| lora.magnitude.as_mut());
        let veras = self.vera.iter_mut().filter_map(|(_, vera)| vera.magnitude.as_mut());
        loras.chain(veras).for_each(burn_adapters_lora::Magnitude::mark_set);
        self.lora.iter_mut().filter_map(|(_, lora)| lora.bias.as_mut()).for_each(burn_adapters_lora::Bias::mark_set);
    }

    /// Checks that every parameter has been set. Methods that start from a model's weights or a text's embeddings must
    /// have received them.
    ///
    /// # Errors
    /// If a parameter must still be set.
    pub fn check_ready(&self) -> Result<(), BuildError> {
        if self.prompt_is_unset {
            return Err(BuildError::NeedsText { name: self.name.clone() });
        }
        match self.unset() {
            Some((what, site)) => Err(BuildError::NeedsWeights { name: self.name.clone(), what, site }),
            None => Ok(()),
        }
    }

    /// Builds an adapter for a model; its parameters are drawn when they are first read.
    ///
    /// # Errors
    /// If the configuration does not fit the model: it names layers or matrices that do not exist, has two methods at
    /// one site, or would train nothing.
    pub fn build(
        name: &str,
        config: AdapterConfig,
        spec: &ModelSpec,
        init: &mut Init,
        device: &Device,
    ) -> Result<(Self, AddReport), BuildError> {
        build(name, config, spec, init, device)
    }

    /// Initializes the prompt with the embeddings of a text, if the adapter has a prompt that starts this way.
    ///
    /// # Shapes
    /// - embeddings: the model's word embeddings of the text's tokens, `[tokens, embedding]`
    ///
    /// # Errors
    /// If the text has no tokens.
    pub fn start_prompt(&mut self, embeddings: Tensor<2>, device: &Device) -> Result<(), BuildError> {
        let prompt = self.config.methods().iter().find_map(|method| match method {
            MethodConfig::PromptTuning(config) => Some(config),
            _ => None,
        });
        if let Some(config) = prompt {
            self.prompt = Some(PromptTuning::from_embeddings(config, embeddings, device)?);
            self.prompt_is_unset = false;
        }
        Ok(())
    }

    /// Computes the prefixes once and for all and drops the MLPs that computed them; results are the same. The
    /// configuration then has `flat=True`.
    pub fn eject_prefixes(mut self) -> Self {
        self.prefix = self.prefix.into_iter().map(|(kind, prefix)| (kind, prefix.eject())).collect();
        self.config = self.config.with_flat_prefixes();
        self
    }

    pub(crate) fn empty(name: &str, config: AdapterConfig) -> Self {
        Self {
            bottleneck: SiteMap::default(),
            phm_shared: None,
            invertible: None,
            prefix: NameMap::default(),
            prompt: None,
            reft: SiteMap::default(),
            prompt_is_unset: false,
            lora: SiteMap::default(),
            vera: SiteMap::default(),
            vera_shared: None,
            mtl: SiteMap::default(),
            ia3: SiteMap::default(),
            name: name.to_owned(),
            config,
        }
    }

    /// The first parameter that must still be set from a model's weights, and its matrix.
    fn unset(&self) -> Option<(&'static str, Site)> {
        let biases = self.lora.iter().filter_map(|(site, lora)| Some((site, lora.bias.as_ref()?)));
        let mut biases = biases.filter(|(_, bias)| !bias.is_set()).map(|(site, _)| ("a bias of the model", *site));
        let loras = self.lora.iter().filter_map(|(site, lora)| Some((site, lora.magnitude.as_ref()?)));
        let veras = self.vera.iter().filter_map(|(site, vera)| Some((site, vera.magnitude.as_ref()?)));
        let mut magnitudes = loras.chain(veras).filter(|(_, magnitude)| !magnitude.is_set());
        magnitudes.next().map(|(site, _)| ("a DoRA magnitude", *site)).or_else(|| biases.next())
    }

    /// Initializes the parameters that depend on the model's weights: DoRA's magnitudes, and the biases of `bias='base'`.
    ///
    /// # Errors
    /// If the model lacks a matrix that the adapter adapts.
    pub fn start_from(&mut self, model: &(impl Matrices + ?Sized)) -> Result<(), BuildError> {
        let loras = self.lora.iter_mut().filter_map(|(site, lora)| Some((*site, lora.magnitude.as_mut()?)));
        let veras = self.vera.iter_mut().filter_map(|(site, vera)| Some((*site, vera.magnitude.as_mut()?)));
        for (site, magnitude) in loras.chain(veras) {
            let linear = model.linear(site).ok_or_else(|| BuildError::NoMatrix { name: self.name.clone(), site })?;
            magnitude.set_from(linear);
        }
        for (site, bias) in self.lora.iter_mut().filter_map(|(site, lora)| Some((*site, lora.bias.as_mut()?))) {
            let linear = model.linear(site).ok_or_else(|| BuildError::NoMatrix { name: self.name.clone(), site })?;
            bias.set_from(linear);
        }
        Ok(())
    }

    /// Makes all parameters trainable (except those that are never trained), or none.
    pub fn set_trained(self, trained: bool) -> Self {
        let mut mapper = SetTrained { trained, frozen: self.frozen() };
        map_parameters(self, &mut mapper)
    }
}

struct SetTrained {
    trained: bool,
    frozen: Vec<ParamId>,
}

impl ParameterMapper for SetTrained {
    fn map<const D: usize>(&mut self, path: &ModulePath, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        // The base of an orthogonal projection is a fixed rotation.
        let is_base = path.levels().last() == Some(("base", "Struct:Orthogonal"));
        let trained = self.trained && !is_base && !self.frozen.contains(&param.id);
        param.set_require_grad(trained)
    }
}

/// The number of parameters of a module, without those with these ids. It saturates: an adapter about to be refused for
/// its size may exceed the largest integer.
pub(crate) fn count(module: &impl Module, without: &[ParamId]) -> usize {
    let counted = parameters(module).into_iter().filter(|parameter| !without.contains(&parameter.id));
    counted.fold(0, |sum, parameter| sum.saturating_add(parameter.elements()))
}

// Access to a model's matrices, for methods that start from weights.

/// A model that gives access to the matrix at a site.
pub trait Matrices {
    /// The matrix at a site; `None` if the model has none there.
    fn linear(&self, site: Site) -> Option<&Linear>;
}
