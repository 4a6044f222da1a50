//! The head that `train` trains an adapter with.

use std::path::Path;

use burn_adapters_heads::HeadConfig;
use burn_adapters_train::{Dataset, TrainTask, train_task};

use super::data::data_error;
use super::given::Given;
use super::model::read_config;
use crate::draw;
use crate::error::CliResult;

/// The head that an adapter is trained with.
pub(super) struct ChosenHead {
    pub(super) config: HeadConfig,
    /// It is that of the adapter, not new.
    pub(super) loaded: bool,
}

impl ChosenHead {
    /// The head that learns the data: the head of the loaded adapter if it has the same labels, otherwise a new one.
    pub(super) fn new(
        data: &Dataset,
        given: Option<&Given>,
        task: Option<&'static dyn TrainTask>,
        model: &Path,
    ) -> CliResult<Self> {
        if let Some(head) = given.and_then(|given| given.head.as_ref())
            && data.labels(head).is_ok()
        {
            return Ok(Self { config: head.clone(), loaded: true });
        }
        if let Some(task) = task.filter(|task| task.form().is_language()) {
            let vocabulary = read_config(model)?.decoder_limits().vocabulary;
            if let Some(config) = task.task().language_head(vocabulary) {
                return Ok(Self { config, loaded: false });
            }
        }
        let config = match task {
            Some(task) => data.head_config_for(task.task()),
            None => data.head_config(),
        };
        let config = config.map_err(|error| data_error(&error))?;
        if let Some(width) = data.vector_width() {
            draw::warning(&format!(
                "{}: the labels are vectors of {width} entries, whose classes are called `LABEL_0`, `LABEL_1` and so on: \
                 --label-names a,b,c names them",
                data.source()
            ));
        }
        Ok(Self { config, loaded: false })
    }

    /// Whether the model's own output layer can be the head.
    pub(super) fn may_be_of_model(&self) -> bool {
        !self.loaded && train_task(&self.config).form().is_language()
    }
}
