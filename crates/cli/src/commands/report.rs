//! Reports of training and evaluation.

use std::time::Instant;

use burn_adapters_train::{
    Evaluation, EvaluationRecord, HeadEvaluation, Metric, Observer, Scores, StepRecord, TrainingPlan, Truncation,
    train_task_named,
};
use serde_json::{Map, Value, json};

use crate::interrupt::Interrupt;
use crate::output::{Align, Table, duration, thousands};
use crate::progress::{Style, Task, Unit};

/// Shows a training on standard error.
pub(super) struct Watch {
    style: Style,
    task: Option<Task>,
    evaluation: Option<Task>,
    epochs: usize,
    /// The losses of the epoch under way.
    losses: Vec<f64>,
    started: Instant,
    pub(super) interrupt: Interrupt,
}

impl Watch {
    pub(super) fn new(style: Style) -> Self {
        Self {
            style,
            task: None,
            evaluation: None,
            epochs: 0,
            losses: Vec::new(),
            started: Instant::now(),
            interrupt: Interrupt::install(),
        }
    }

    /// Removes the bars.
    pub(super) fn finish(&mut self) {
        for task in [self.task.take(), self.evaluation.take()].into_iter().flatten() {
            task.finish();
        }
    }
}

impl Observer for Watch {
    fn started(&mut self, plan: &TrainingPlan) {
        self.epochs = plan.epochs;
        self.started = Instant::now();
        self.style.say(format_args!(
            "training {} parameters on {} examples: {} epochs of {} steps",
            thousands(plan.parameters),
            thousands(plan.examples),
            plan.epochs,
            plan.steps_per_epoch
        ));
        if plan.done_steps > 0 {
            self.style.say(format_args!("continuing after step {}", plan.done_steps));
        }
        let mut task = Task::new(self.style, "training", plan.steps as u64, Unit::Count);
        task.set(plan.done_steps as u64, "");
        self.task = Some(task);
    }

    fn truncated(&mut self, _truncation: &Truncation) {
        // Said when the texts were read.
    }

    fn without_gradient(&mut self, tensors: &[String]) {
        const SHOWN: usize = 5;
        let shown = tensors.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
        let more = if tensors.len() > SHOWN { format!(", and {} more", tensors.len() - SHOWN) } else { String::new() };
        crate::draw::warning(&format!(
            "no gradient reaches {} of the tensors to be trained; they remain unchanged: {shown}{more}",
            tensors.len()
        ));
    }

    fn epoch_started(&mut self, _epoch: usize) {
        self.losses.clear();
    }

    fn step(&mut self, step: &StepRecord) {
        self.losses.push(step.loss);
        let recent = &self.losses[self.losses.len().saturating_sub(20)..];
        let loss = recent.iter().sum::<f64>() / recent.len() as f64;
        if let Some(task) = &mut self.task {
            task.set(step.step as u64, format_args!("loss {loss:.4}"));
        }
    }

    fn evaluating(&mut self, done: usize, total: usize) {
        let style = if self.style == Style::Bars { Style::Bars } else { Style::Quiet };
        let task = self.evaluation.get_or_insert_with(|| Task::new(style, "evaluating", total as u64, Unit::Count));
        task.set(done as u64, "");
    }

    fn evaluated(&mut self, record: &EvaluationRecord, heads: &[HeadEvaluation]) {
        if let Some(task) = self.evaluation.take() {
            task.finish();
        }
        let scores = match heads {
            [one] => headline(&one.evaluation),
            several => {
                let each = several.iter().map(|head| format!("{}: {}", head.head, headline(&head.evaluation)));
                each.collect::<Vec<_>>().join("; ")
            }
        };
        let text = if record.epoch == 0 {
            format!("before training: held-out {scores}")
        } else {
            let loss = self.losses.iter().sum::<f64>() / self.losses.len().max(1) as f64;
            let time = duration(self.started.elapsed().as_secs_f64());
            format!("epoch {} of {}: training loss {loss:.4}, held-out {scores} ({time})", record.epoch, self.epochs)
        };
        match &self.task {
            Some(task) => task.say(text),
            None => self.style.say(text),
        }
    }

    fn should_stop(&mut self) -> bool {
        self.interrupt.code().is_some()
    }
}

/// The loss and the most informative metric, in one line.
pub(super) fn headline(evaluation: &Evaluation) -> String {
    let metric = train_task_named(&evaluation.scores.task).and_then(|task| {
        let metric = *task.metrics().first()?;
        Some(format!(", {} {:.4}", task.title(metric), evaluation.metric(metric)?))
    });
    format!("loss {:.4}{}", evaluation.loss, metric.unwrap_or_default())
}

/// An evaluation for display.
pub(super) fn describe(evaluation: &Evaluation) -> String {
    let Scores { task, metrics, classes, confusion } = &evaluation.scores;
    let task = train_task_named(task);
    let shown = metrics.iter().filter(|(metric, _)| task.is_none_or(|task| task.is_shown(*metric)));
    let title = |metric: Metric| task.map_or(metric.title(), |task| task.title(metric));
    let shown: Vec<String> = shown.map(|(metric, value)| format!("{} {value:.4}", title(*metric))).collect();
    let mut lines = vec![format!("{} examples, loss {:.4}", thousands(evaluation.examples), evaluation.loss)];
    lines.push(shown.join(", "));
    if !classes.is_empty() {
        lines.extend([String::new(), class_table(classes)]);
    }
    if let Some(confusion) = confusion {
        lines.push(String::new());
        if classes.len() > SHOWN {
            let count = thousands(classes.len());
            lines.push(format!("the confusion matrix of {count} classes is not shown; --json gives it"));
        } else {
            let labels: Vec<&str> = classes.iter().map(|class| class.label.as_str()).collect();
            lines.push(confusion_table(&labels, confusion));
        }
    }
    lines.join("\n")
}

/// The most classes that tables have.
const SHOWN: usize = 20;

/// The scores of each class; if there are many classes, of those with the most examples.
fn class_table(classes: &[burn_adapters_train::ClassScore]) -> String {
    let mut shown: Vec<usize> = (0..classes.len()).collect();
    shown.sort_by_key(|index| std::cmp::Reverse(classes[*index].support));
    shown.truncate(SHOWN);
    shown.sort_unstable();
    let right = Align::Right;
    let mut table = Table::new(&[
        ("label", Align::Left),
        ("precision", right),
        ("recall", right),
        ("F1", right),
        ("examples", right),
    ]);
    for class in shown.into_iter().map(|index| &classes[index]) {
        let number = |value: f64| format!("{value:.4}");
        let support = thousands(class.support);
        table.row(vec![class.label.clone(), number(class.precision), number(class.recall), number(class.f1), support]);
    }
    if classes.len() <= SHOWN {
        return table.to_string();
    }
    let count = thousands(classes.len());
    format!("{table}\nthe {SHOWN} of {count} classes with the most examples; --json gives all")
}

/// Rows are the true labels, columns the predicted ones.
pub(super) fn confusion_table(labels: &[&str], confusion: &[Vec<usize>]) -> String {
    let mut columns = vec![("truth \\ predicted", Align::Left)];
    columns.extend(labels.iter().map(|label| (*label, Align::Right)));
    let mut table = Table::new(&columns);
    for (label, row) in labels.iter().zip(confusion) {
        let mut cells = vec![(*label).to_owned()];
        cells.extend(row.iter().map(|count| thousands(*count)));
        table.row(cells);
    }
    table.to_string()
}

/// An evaluation as JSON: every metric by name, and the scores of each class.
pub(super) fn evaluation_json(evaluation: &Evaluation) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("examples".into(), evaluation.examples.into());
    object.insert(Metric::LOSS.name().into(), evaluation.loss.into());
    let Scores { metrics, classes, confusion, .. } = &evaluation.scores;
    for (metric, value) in metrics {
        object.insert(metric.name().into(), (*value).into());
    }
    if !classes.is_empty() {
        object.insert("classes".into(), json!(classes));
    }
    if confusion.is_some() {
        object.insert("confusion".into(), confusion_json(&evaluation.scores));
    }
    object
}

/// The scores of several evaluations together: the metrics that are means over rows, if all have them.
pub(super) fn overall<'a>(evaluations: impl Iterator<Item = &'a Evaluation> + Clone) -> Map<String, Value> {
    let examples: usize = evaluations.clone().map(|evaluation| evaluation.examples).sum();
    let mut object = Map::new();
    object.insert("examples".into(), examples.into());
    for metric in Metric::all().into_iter().filter(|metric| metric.is_mean_of_rows()) {
        // The loss and the accuracy of tokens are means over tokens.
        let is_over_mass = [Metric::LOSS, Metric::ACCURACY].contains(&metric);
        let weight = |one: &Evaluation| if is_over_mass { one.mass } else { one.examples as f64 };
        let all: f64 = evaluations.clone().map(weight).sum();
        let weighted = |one: &Evaluation| Some(one.metric(metric)? * weight(one));
        if let Some(sum) = evaluations.clone().map(weighted).sum::<Option<f64>>().filter(|_| all > 0.0) {
            object.insert(metric.name().into(), (sum / all).into());
        }
    }
    object
}

/// The confusion matrix as JSON; null where there is none.
pub(super) fn confusion_json(scores: &Scores) -> Value {
    let Some(confusion) = &scores.confusion else { return Value::Null };
    let labels: Vec<&str> = scores.classes.iter().map(|class| class.label.as_str()).collect();
    json!({"labels": labels, "truth_by_prediction": confusion})
}
