//! The golden cases of several adapters together.

use std::path::PathBuf;

use burn::tensor::Device;
use burn_adapters_checkpoint::{load_adapter, load_fusion, load_head};
use burn_adapters_composition::{Composition, HeadSetup};
use burn_adapters_model::{AdapterBank, BaseModel, Setup};
use burn_adapters_transformers::AutoModel;
use serde::Deserialize;

use crate::{Golden, goldens, read_json};

/// One case: adapters, fusions and heads, and how they work together.
#[derive(Debug, Deserialize)]
pub struct Case {
    /// The folder's name under `cases`.
    #[serde(skip)]
    pub folder: String,
    /// The folder's name under `models`.
    pub model: String,
    /// The composition.
    pub setup: String,
    /// The adapters that it names.
    pub adapters: Vec<String>,
    /// The fusions that it names.
    pub fusions: Vec<String>,
    /// The heads, if they are not those of the adapters.
    pub heads: Option<String>,
    /// Layers that run without adapters.
    pub skip_layers: Vec<usize>,
    /// The parts that the reference trained for a step, if any.
    #[serde(default)]
    pub train: Option<String>,
    /// At this learning rate.
    #[serde(default)]
    pub learning_rate: f64,
}

fn folder() -> PathBuf {
    goldens().join("compositions")
}

/// All cases.
pub fn cases() -> Vec<Case> {
    #[derive(Deserialize)]
    struct Entry {
        folder: String,
    }
    let index: Vec<Entry> = read_json(&folder().join("cases/index.json"));
    let read = |entry: Entry| {
        let mut case: Case = read_json(&folder().join("cases").join(&entry.folder).join("case.json"));
        case.folder = entry.folder;
        case
    };
    index.into_iter().map(read).collect()
}

impl Case {
    /// The reference's results.
    pub fn golden(&self) -> Golden {
        Golden::read(&folder().join("cases").join(&self.folder).join("golden.safetensors"))
    }

    /// The model on `device`, and the adapters, fusions and heads on its autodiff one.
    pub fn load(&self, device: &Device) -> (AutoModel, AdapterBank) {
        let (model, _) = AutoModel::from_dir(&goldens().join("models").join(&self.model), device).unwrap();
        let mut bank = AdapterBank::new(model.spec(), &device.clone().autodiff());
        for adapter in &self.adapters {
            let dir = folder().join("adapters").join(format!("{}__{adapter}", self.model));
            load_adapter(&dir, &mut bank, None).unwrap_or_else(|error| panic!("{adapter}: {error}"));
            load_head(&dir, &mut bank, None).unwrap();
        }
        for fusion in &self.fusions {
            let dir = folder().join("fusions").join(format!("{}__{fusion}", self.model));
            load_fusion(&dir, &mut bank, None).unwrap_or_else(|error| panic!("{fusion}: {error}"));
        }
        (model, bank)
    }

    /// The setup of its pass.
    pub fn setup(&self) -> Setup {
        let setup =
            Setup::compose(Composition::parse(&self.setup).unwrap()).skip_layers(self.skip_layers.iter().copied());
        match &self.heads {
            Some(heads) => setup.with_head(heads.parse::<HeadSetup>().unwrap()),
            None => setup,
        }
    }
}
