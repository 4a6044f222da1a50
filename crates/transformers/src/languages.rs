//! The adapters for languages that files of a base model hold: those of X-MOD.

use std::collections::BTreeMap;
use std::path::Path;

use burn_adapters_config::AdapterConfig;
use burn_adapters_core::Site;
use burn_adapters_model::AdapterBank;
use burn_adapters_tensors::{FloatType, fill, parameters, transposed};

use crate::plan::LanguagesPlan;
use crate::weights::Weights;
use crate::{AutoModel, LoadError, ModelConfig};

impl AutoModel {
    /// Adds the language modules of an X-MOD folder (Pfeiffer et al., 2022) to a bank, each as a bottleneck adapter
    /// with the name of its language. Returns the names, in the order of `languages` in `config.json`.
    ///
    /// As in the Python library, the base model has none of these modules. With the adapter of a language, it computes
    /// what `transformers` computes for this language. Task adapters are stacked on that adapter.
    ///
    /// ```no_run
    /// # use std::path::Path;
    /// # use burn::tensor::Device;
    /// # use burn_adapters_model::{AdapterBank, BaseModel, Setup};
    /// # use burn_adapters_transformers::AutoModel;
    /// # fn add() -> Result<(), Box<dyn std::error::Error>> {
    /// let (dir, device) = (Path::new("xmod-base"), Device::default());
    /// let (model, _) = AutoModel::from_dir(dir, &device)?;
    /// let mut bank = AdapterBank::new(model.spec(), &device.autodiff());
    /// AutoModel::add_languages(dir, &mut bank)?;
    /// bank.add("task", "seq_bn".parse()?)?;
    /// let hooks = bank.hooks(&Setup::compose("Stack(de_DE, task)".parse()?))?;
    /// # let _ = (model, hooks);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If the folder's model has no such modules, a module is missing or of another shape, or the bank is for another
    /// model or already has an adapter of that name. The bank is then unchanged.
    pub fn add_languages(dir: &Path, bank: &mut AdapterBank) -> Result<Vec<String>, LoadError> {
        let config = ModelConfig::from_dir(dir)?;
        let plan = &config.plan;
        let languages = plan
            .languages
            .as_ref()
            .ok_or_else(|| LoadError::NoLanguages { dir: dir.to_owned(), model_type: plan.model_type })?;
        let weights = Weights::open(dir, plan.prefix)?;
        let mut adapters = Vec::new();
        let mut shapes = BTreeMap::new();
        for language in &languages.names {
            let adapter_config = AdapterConfig::from(languages.config.clone());
            let (adapter, _) = bank.plan(language, adapter_config).map_err(Box::new)?;
            let scope = |layer| plan.stack.scope(layer);
            let names: BTreeMap<String, String> = parameters(&adapter)
                .into_iter()
                .filter_map(|parameter| {
                    let name = languages.name(language, &parameter.path, scope)?;
                    let mut shape = parameter.shape;
                    shape.reverse();
                    shapes.insert(name.clone(), shape);
                    Some((parameter.path, name))
                })
                .collect();
            adapters.push((adapter, names));
        }
        // The rest of the files is the base model's.
        weights.check(&shapes, |_| true)?;
        let mut filled = Vec::new();
        for (adapter, names) in adapters {
            let mut data = BTreeMap::new();
            for (path, name) in names {
                data.insert(path, weights.read(&name, FloatType::F32)?);
            }
            filled.push(fill(adapter, |path, shape| {
                let data = data.remove(&path.to_string())?;
                Some(if shape.len() == 2 { transposed(data) } else { data })
            }));
        }
        for (index, adapter) in filled.into_iter().enumerate() {
            if let Err(error) = bank.insert(adapter) {
                for added in &languages.names[..index] {
                    bank.remove(added).map_err(Box::new)?;
                }
                return Err(Box::new(error).into());
            }
        }
        Ok(languages.names.clone())
    }
}

impl LanguagesPlan {
    /// Whether a weight is of such a module.
    pub(crate) fn has(&self, name: &str) -> bool {
        name.split_once(self.module).is_some_and(|(layer, rest)| layer.ends_with('.') && rest.starts_with('.'))
    }

    /// The name of the weight that a parameter of the adapter is.
    fn name(&self, language: &str, path: &str, scope: impl Fn(usize) -> String) -> Option<String> {
        let (site, parameter) = path.strip_prefix("bottleneck.")?.split_once('.')?;
        let (projection, kind) = parameter.rsplit_once('.')?;
        let index = ["down_project.Linear", "up_project.Linear"].iter().position(|known| *known == projection)?;
        let scope = scope(Site::from_key(site)?.layer);
        Some(format!("{scope}{}.{language}.{}.{kind}", self.module, self.projections[index]))
    }
}
