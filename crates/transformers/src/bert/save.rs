//! Writing a BERT's weights as the file that they were read from has them.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::{Device, Tensor, TensorData};
use burn_adapters_core::{Fill, Init};
use safetensors::tensor::{Dtype, TensorView};

use super::Bert;
use super::load::is_buffer;
use crate::weights::{Fresh, Source, Weights, transposed};
use crate::{LoadError, SaveError, SaveReport};

impl Bert {
    /// Writes this model's weights as a safetensors file, under the names that the files of the folder `like` have: that
    /// is the folder which the model was read from. Tensors there that a base model does not use (the heads of task
    /// models) are copied; buffers are left out. All are written as f32.
    ///
    /// Here an adapter is merged and the model that results is written:
    ///
    /// ```no_run
    /// # use std::path::Path;
    /// # use burn_adapters_model::{AdapterBank, MergedModel};
    /// # use burn_adapters_transformers::Bert;
    /// # fn merge(bert: Bert, bank: &AdapterBank) -> Result<(), Box<dyn std::error::Error>> {
    /// let merged = MergedModel::merge(bert, bank.adapter("reviews")?)?;
    /// merged.save(Path::new("all-MiniLM-L6-v2"), Path::new("merged/model.safetensors"))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If the files of `like` cannot be read or are of another model, or the file cannot be written.
    pub fn save(&self, like: &Path, file: &Path) -> Result<SaveReport, SaveError> {
        let mut own = self.tensors()?;
        let mut weights = Weights::open(like, self.config.family.prefix())?;
        let shapes = own.iter().map(|(name, data)| (name.clone(), data.shape().to_vec())).collect();
        weights.check(&shapes, |_| true)?;
        let names: Vec<(String, String)> = weights.names().filter(|(weight, _)| !is_buffer(weight)).collect();
        let mut report = SaveReport::default();
        let mut written = Vec::with_capacity(names.len());
        for (weight, name) in names {
            let (stored, is_f32) = weights.read_stored(&weight)?;
            report.widened += usize::from(!is_f32);
            let data = match own.remove(&weight) {
                Some(data) => {
                    report.changed += usize::from(data.as_bytes() != stored.as_bytes());
                    data
                }
                None => stored,
            };
            report.tensors += 1;
            report.parameters += data.num_elements();
            report.bytes += data.as_bytes().len() as u64;
            written.push((name, data));
        }
        let views: Result<Vec<_>, _> = written
            .iter()
            .map(|(name, data)| Ok((name, TensorView::new(Dtype::F32, data.shape().to_vec(), data.as_bytes())?)))
            .collect();
        let failed = |error: safetensors::SafeTensorError| SaveError::Write {
            file: file.to_owned(),
            message: error.to_string(),
        };
        // Without it the reference does not read the file.
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        safetensors::serialize_to_file(views.map_err(failed)?, Some(metadata), file).map_err(failed)?;
        Ok(report)
    }

    /// The parameters as f32, by their names and in the shapes that they have in files.
    fn tensors(&self) -> Result<BTreeMap<String, TensorData>, LoadError> {
        // The names are known where a model is built; two of one configuration have their parameters in one order.
        let device = Device::default();
        let mut named = Named { fresh: Fresh { init: Init::from_seed(0), device: &device }, names: HashMap::new() };
        let model = Self::build(&self.config, self.pooler.is_some(), &mut named)?;
        let mut order = Order::default();
        model.visit(&mut order);
        let mut values = Values::default();
        self.visit(&mut values);
        let named = order.0.iter().filter_map(|id| named.names.get(id)).zip(values.0);
        let laid_out = |(named, data): (&(String, Option<[usize; 2]>), TensorData)| match named {
            (name, Some([input, output])) => (name.clone(), transposed(data, [*output, *input])),
            (name, None) => (name.clone(), data),
        };
        Ok(named.map(laid_out).collect())
    }
}

/// Notes the name of each parameter, and of matrices the size.
struct Named<'a> {
    fresh: Fresh<'a>,
    names: HashMap<ParamId, (String, Option<[usize; 2]>)>,
}

impl Source for Named<'_> {
    fn device(&self) -> &Device {
        self.fresh.device()
    }

    fn param<const D: usize>(
        &mut self,
        name: &str,
        shape: [usize; D],
        fill: Fill,
    ) -> Result<Param<Tensor<D>>, LoadError> {
        let param = self.fresh.param(name, shape, fill)?;
        self.names.insert(param.id, (name.to_owned(), None));
        Ok(param)
    }

    fn matrix(&mut self, name: &str, size: [usize; 2], fill: Fill) -> Result<Param<Tensor<2>>, LoadError> {
        let param = self.fresh.matrix(name, size, fill)?;
        self.names.insert(param.id, (name.to_owned(), Some(size)));
        Ok(param)
    }
}

#[derive(Default)]
struct Order(Vec<ParamId>);

impl ModuleVisitor for Order {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.push(param.id);
    }
}

#[derive(Default)]
struct Values(Vec<TensorData>);

impl ModuleVisitor for Values {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.push(param.val().into_data().convert::<f32>());
    }
}
