//! The fusion layers of one composition of adapters.

use burn::module::Module;
use burn::tensor::Device;
use burn_adapters_core::{Init, ModelSpec, Site, SiteMap};
use burn_adapters_fusion::{Fusion, FusionConfig};

use crate::{Adapter, BankError};

/// One named AdapterFusion: a layer at every sublayer's end where the fused adapters act.
#[derive(Module, Debug)]
pub struct FusionLayers {
    /// The layers.
    pub layers: SiteMap<Fusion>,
    #[module(skip)]
    pub(crate) adapters: Vec<String>,
    #[module(skip)]
    pub(crate) config: FusionConfig,
}

impl FusionLayers {
    /// New layers over adapters, in every layer of the model at the places where they act, as in the reference.
    ///
    /// # Errors
    /// If none of the adapters has a bottleneck.
    pub fn new(
        name: &str,
        adapters: &[&Adapter],
        config: &FusionConfig,
        spec: &ModelSpec,
        attention_dropout: f64,
        init: &mut Init,
        device: &Device,
    ) -> Result<Self, BankError> {
        let acts = |site: &Site| {
            adapters.iter().any(|adapter| adapter.bottleneck.keys().any(|other| other.place == site.place))
        };
        init.restart_demand();
        let mut layers = SiteMap::default();
        for (site, hidden_size) in spec.sublayers().filter(|(site, _)| acts(site)) {
            let layer = Fusion::new(config, hidden_size, attention_dropout, init, device)
                .map_err(|source| BankError::Fusion { name: name.to_owned(), reason: source.to_string() })?;
            let check = init.demand().check("fuse adapters of a smaller model, or without query or key");
            check.map_err(|source| BankError::FusionTooLarge { name: name.to_owned(), source: Box::new(source) })?;
            layers.insert(site, layer);
        }
        if layers.is_empty() {
            let reason = "none of the adapters has a bottleneck, and only bottlenecks can be fused".to_owned();
            return Err(BankError::Fusion { name: name.to_owned(), reason });
        }
        let adapters = adapters.iter().map(|adapter| adapter.name().to_owned()).collect();
        Ok(Self { layers, adapters, config: config.clone() })
    }

    /// The layer at a site.
    pub fn at(&self, site: Site) -> Option<&Fusion> {
        self.layers.get(&site)
    }

    /// The names of the fused adapters.
    pub fn adapters(&self) -> &[String] {
        &self.adapters
    }

    /// How the layers fuse.
    pub fn config(&self) -> &FusionConfig {
        &self.config
    }
}
