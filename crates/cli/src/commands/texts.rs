//! How the heads in use read texts, and what is refused for it.

use burn_adapters_composition::HeadSetup;
use burn_adapters_train::tasks::TRAIN_TASKS;
use burn_adapters_train::{TextForm, TrainTask, train_task};

use super::setup::Loaded;
use crate::error::{CliError, CliResult};

impl Loaded {
    /// How texts become rows of tokens; all heads in use must agree on it.
    pub(super) fn form(&self) -> CliResult<TextForm> {
        let setup = self.setup(None);
        let used: Vec<String> = setup.heads().iter().flat_map(HeadSetup::names).map(str::to_owned).collect();
        let is_used = |name: &str| used.is_empty() || used.iter().any(|other| other == name);
        let heads = self.head_configs().filter(|(name, _)| is_used(name));
        let mut form = None;
        for (name, head) in heads {
            let own = train_task(head).form();
            match form {
                None => form = Some((own, name)),
                // A head that gives texts a label does not mind that words are known.
                Some((TextForm::Whole, _)) if own == TextForm::Words => form = Some((own, name)),
                Some((TextForm::Words, _)) if own == TextForm::Whole => {}
                Some((known, other)) if known != own => {
                    return Err(CliError::mistake(format!(
                        "the heads `{other}` and `{name}` read texts differently: the tasks are {} and {}",
                        self.head(other)?.task(),
                        head.task()
                    ))
                    .with_help("use them in separate commands"));
                }
                Some(_) => {}
            }
        }
        Ok(form.map_or(TextForm::Whole, |(form, _)| form))
    }

    /// The default columns of the text and of the second text.
    pub(super) fn text_columns(&self) -> CliResult<(&'static str, Option<&'static str>)> {
        let windows = self.form()? == TextForm::Windows;
        let mut tasks = self.head_configs().map(|(_, head)| train_task(head));
        let task = tasks.find(|task| windows && task.form() == TextForm::Windows);
        Ok(task.map_or((TRAIN_TASKS[0].columns()[0], None), |task| (task.columns()[0], task.pair_column())))
    }

    /// Refuses questions without a context.
    pub(super) fn check_context(&self) -> CliResult {
        if self.form()? != TextForm::Windows {
            return Ok(());
        }
        Err(CliError::mistake("the question has no context")
            .with_help("--question Q --context C gives both, or --input a file with a column for each"))
    }

    /// Checks the choices that are given on the command line, or that none are given.
    pub(super) fn check_choices(&self, choices: &[String], from_file: bool) -> CliResult {
        match (self.form()? == TextForm::Choices, choices) {
            (false, []) => Ok(()),
            (false, _) => Err(CliError::mistake("--choice is for multiple choice, but the head has another task")
                .with_help("leave out --choice, or name a head for this task with --head")),
            (true, []) if from_file => Ok(()),
            (true, [] | [_]) => {
                Err(CliError::mistake(format!("multiple choice needs at least 2 choices, found {}", choices.len()))
                    .with_help("--text P --choice A --choice B gives them, or --input a file with a column `choices`"))
            }
            (true, _) => Ok(()),
        }
    }

    /// Refuses heads of another task than the requested one.
    pub(super) fn check_task(&self, task: Option<&'static dyn TrainTask>) -> CliResult {
        let Some(task) = task.map(TrainTask::task) else { return Ok(()) };
        match self.head_configs().find(|(_, head)| head.task() != task) {
            None => Ok(()),
            Some((name, head)) => {
                let message = format!("--task {task}, but the head `{name}` is for {}", head.task());
                Err(CliError::mistake(message).with_help("leave out --task, or name a head for this task with --head"))
            }
        }
    }

    /// Refuses pairs of texts for a head that labels the words of a single text, or that chooses the second text.
    pub(super) fn check_pairs(&self, option: &str) -> CliResult {
        for (name, head) in self.head_configs() {
            let reads = match train_task(head).form() {
                TextForm::Words => "which reads single texts",
                TextForm::Choices => "which reads the choices as second texts",
                TextForm::Masked | TextForm::Causal => "which reads single texts",
                TextForm::Preferences => "which reads pairs of answers",
                TextForm::Whole | TextForm::Windows | TextForm::Target => continue,
            };
            let message =
                format!("{option} gives a second text, but the head `{name}` is for {}, {reads}", head.task());
            return Err(CliError::mistake(message).with_help(format!("leave out {option}")));
        }
        Ok(())
    }
}
