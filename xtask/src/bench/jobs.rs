//! The jobs, by family.

use super::floor::Work;
pub(crate) use super::job::{Agreement, Contestant, Family, Input, Job, LLAMA_CPP, Model, OTHER_BUILD, SENTENCES};
use super::language;

/// The identifiers of the reference's table of methods.
pub(crate) const METHODS: [&str; 15] = [
    "seq_bn",
    "double_seq_bn",
    "par_bn",
    "scaled_par_bn",
    "seq_bn_inv",
    "double_seq_bn_inv",
    "compacter",
    "compacter++",
    "prefix_tuning",
    "prefix_tuning_flat",
    "prompt_tuning",
    "lora",
    "ia3",
    "mam",
    "unipelt",
];

/// The methods whose steps are measured on both models.
const STEPS: [&str; 5] = ["seq_bn", "lora", "prefix_tuning", "compacter", "mam"];

/// The requested measurements.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    /// Configurations instead of a family's own.
    pub(crate) configs: Vec<String>,
    /// No large model.
    pub(crate) quick: bool,
    /// The numbers of threads of language models' jobs.
    pub(crate) threads: Vec<usize>,
}

impl Wanted {
    fn configs(&self, own: &[&str]) -> Vec<String> {
        if self.configs.is_empty() { own.iter().map(|name| (*name).to_owned()).collect() } else { self.configs.clone() }
    }

    fn models(&self) -> &[Model] {
        if self.quick { &[Model::MiniLm] } else { &[Model::MiniLm, Model::Base] }
    }
}

/// The jobs of a family that runs on servers; none for whole programs.
pub(crate) fn jobs(family: Family, wanted: &Wanted) -> Vec<Job> {
    match family {
        Family::Quickstart | Family::Cold | Family::LmLoad => Vec::new(),
        Family::Methods => methods(wanted),
        Family::Step => steps(wanted),
        Family::Infer => inference(wanted),
        Family::Routed => routed(wanted),
        Family::Bank => bank(wanted),
        Family::Upper => upper(wanted),
        Family::Bf16 => bf16(wanted),
        Family::Full => full(wanted),
        Family::BurnLora => burn_lora(wanted),
        Family::Growth => growth(wanted),
        Family::LmTrain | Family::LmPrompt | Family::LmGenerate | Family::LmGrowth => language::jobs(family, wanted),
    }
}

fn sentences(model: Model, size: usize) -> Input {
    Input::Sentences { batches: if model == Model::Base { 1 } else { 4 }, size }
}

fn step(family: Family, config: &str, model: Model, input: Input) -> Job {
    let mut contestants = vec![Contestant::ours("step", config), Contestant::python("step", config)];
    if config == "lora" && family == Family::Step {
        contestants.push(Contestant { library: Some("peft"), ..Contestant::python("step", config).called("peft") });
    }
    Job::new(family, &format!("step {config}"), model, input, contestants).working(Work::Step { lowest: 0 })
}

fn methods(wanted: &Wanted) -> Vec<Job> {
    let configs = wanted.configs(&METHODS);
    configs.iter().map(|config| step(Family::Methods, config, Model::MiniLm, sentences(Model::MiniLm, 32))).collect()
}

fn steps(wanted: &Wanted) -> Vec<Job> {
    let mut jobs = Vec::new();
    for model in wanted.models() {
        for config in wanted.configs(&STEPS) {
            let tokens = Input::Tokens { rows: 16, length: 128 };
            let units = if *model == Model::Base { 1 } else { 3 };
            jobs.push(step(Family::Step, &config, *model, tokens).units(units));
            jobs.push(step(Family::Step, &config, *model, sentences(*model, 32)));
        }
    }
    jobs
}

fn inference(wanted: &Wanted) -> Vec<Job> {
    let mut jobs = Vec::new();
    for model in wanted.models() {
        let large = *model == Model::Base;
        let inputs = [(1, if large { 4 } else { 24 }), (32, if large { 1 } else { 4 }), (256, 1)];
        for (size, batches) in inputs.into_iter().filter(|(size, _)| !large || *size < 256) {
            let input = Input::Sentences { batches, size };
            for config in wanted.configs(&["seq_bn", "lora"]) {
                let mut kinds = vec![("infer", format!("infer {config}"))];
                if config == "lora" {
                    kinds.push(("infer_merged", "infer lora merged".to_owned()));
                }
                for (kind, name) in kinds {
                    let contestants = vec![Contestant::ours(kind, &config), Contestant::python(kind, &config)];
                    jobs.push(Job::new(Family::Infer, &name, *model, input, contestants));
                }
            }
        }
    }
    jobs
}

fn routed(wanted: &Wanted) -> Vec<Job> {
    let job = |config: &String| {
        let eight = |kind| Contestant { adapters: 8, ..Contestant::ours(kind, config) };
        let contestants = vec![
            eight("routed").called("8 adapters, mixed"),
            Contestant::ours("routed", config).called("1 adapter").other(),
            eight("separate").called("8 batches, one after the other"),
        ];
        Job::new(Family::Routed, &format!("routed {config}"), Model::MiniLm, sentences(Model::MiniLm, 32), contestants)
    };
    wanted.configs(&["seq_bn", "lora"]).iter().map(job).collect()
}

fn bank(wanted: &Wanted) -> Vec<Job> {
    let mut jobs = Vec::new();
    for config in wanted.configs(&["seq_bn"]) {
        let kinds = [
            ("add", "add the 100th adapter"),
            ("add_and_use", "add the 100th adapter and use it"),
            ("switch", "switch between 100 adapters"),
        ];
        for (kind, name) in kinds {
            let with = |contestant| Contestant { adapters: 100, ..contestant };
            let contestants = vec![with(Contestant::ours(kind, &config)), with(Contestant::python(kind, &config))];
            let input = Input::Sentences { batches: 4, size: 1 };
            let work = if kind == "add" { Work::Nothing } else { Work::Infer };
            let job = Job::new(Family::Bank, &format!("{name} ({config})"), Model::MiniLm, input, contestants);
            jobs.push(job.working(work));
        }
    }
    jobs
}

fn upper(wanted: &Wanted) -> Vec<Job> {
    let mut jobs = Vec::new();
    for model in wanted.models() {
        for config in wanted.configs(&["seq_bn"]) {
            let half = model.layers() / 2;
            let left_out: Vec<String> = (0..half).map(|layer| layer.to_string()).collect();
            let above = match config.strip_suffix(']') {
                Some(open) => format!("{open},leave_out=[{}]]", left_out.join(",")),
                None => format!("{config}[leave_out=[{}]]", left_out.join(",")),
            };
            let contestants = vec![
                Contestant::ours("step", &above).called("ours, upper half"),
                Contestant::ours("step", &config).called("ours, all layers").other(),
                Contestant::python("step", &above).called("adapters, upper half"),
            ];
            let below = Contestant { bf16_below: half, ..Contestant::ours("step", &above) };
            let in_bf16 = vec![
                below.called("ours, upper half, the lower one in bf16"),
                Contestant::ours("step", &config).called("ours, all layers").other(),
                Contestant::ours("step", &above).called("ours, upper half").other(),
            ];
            let name = format!("upper half {config}");
            let job = Job::new(Family::Upper, &name, *model, sentences(*model, 32), contestants);
            jobs.push(job.working(Work::Step { lowest: half }));
            let name = format!("upper half {config}, bf16 below");
            let job = Job::new(Family::Upper, &name, *model, sentences(*model, 32), in_bf16);
            // The measured rate of products is that of f32.
            jobs.push(job.working(Work::Nothing));
        }
    }
    jobs
}

fn bf16(wanted: &Wanted) -> Vec<Job> {
    let mut jobs = Vec::new();
    for model in wanted.models() {
        for config in wanted.configs(&["seq_bn", "lora"]) {
            for kind in ["step", "infer"] {
                let half = |contestant, label| Contestant { bf16: true, ..contestant }.called(label).other();
                let contestants = vec![
                    half(Contestant::ours(kind, &config), "ours, bf16"),
                    Contestant::ours(kind, &config).called("ours, f32").other(),
                    half(Contestant::python(kind, &config), "adapters, bf16"),
                    Contestant::python(kind, &config).called("adapters, f32").other(),
                ];
                let job =
                    Job::new(Family::Bf16, &format!("{kind} {config}"), *model, sentences(*model, 32), contestants);
                // The measured rate of products is that of f32.
                jobs.push(job.working(Work::Nothing));
            }
        }
    }
    jobs
}

fn full(wanted: &Wanted) -> Vec<Job> {
    let job = |model: &Model| {
        let contestants = vec![Contestant::ours("full", "seq_bn"), Contestant::python("full", "seq_bn")];
        let job = Job::new(Family::Full, "full fine-tuning", *model, sentences(*model, 32), contestants);
        job.working(Work::Full)
    };
    wanted.models().iter().map(job).collect()
}

fn burn_lora(wanted: &Wanted) -> Vec<Job> {
    let job = |model: &Model| {
        // Without noise: Burn's adapter starts as the identity, so ours must too.
        let plain = |contestant| Contestant { noise: 0.0, ..contestant };
        let contestants = vec![
            plain(Contestant::ours("step", "lora")),
            plain(Contestant::ours("burn_lora", "lora").called("burn's apply_lora, burn's modules")),
            plain(Contestant::ours("burn_lora_here", "lora").called("burn's apply_lora, our model")),
        ];
        let job = Job::new(Family::BurnLora, "step lora", *model, sentences(*model, 32), contestants);
        job.working(Work::Step { lowest: 0 })
    };
    wanted.models().iter().map(job).collect()
}

fn growth(wanted: &Wanted) -> Vec<Job> {
    let mut jobs = Vec::new();
    for config in wanted.configs(&["seq_bn"]) {
        let mut tokens = |what: &'static str, value: usize, model: Model, rows: usize, length: usize| {
            let job = step(Family::Growth, &config, model, Input::Tokens { rows, length }).units(2);
            jobs.push(Job { growth: Some((what, value)), ..job });
        };
        for length in [16, 32, 64, 128, 256] {
            tokens("positions", length, Model::MiniLm, 16, length);
        }
        for rows in [4, 8, 16, 32, 64] {
            tokens("rows", rows, Model::MiniLm, rows, 64);
        }
        for layers in [3, 6, 12] {
            tokens("layers", layers, Model::Layers(layers), 16, 64);
        }
        for adapters in [1, 2, 4, 8] {
            let with = |contestant| Contestant { adapters, ..contestant };
            let contestants =
                vec![with(Contestant::ours("infer", &config)), with(Contestant::python("infer", &config))];
            let input = Input::Tokens { rows: 16, length: 64 };
            let name = format!("infer {adapters} × {config}");
            let job = Job::new(Family::Growth, &name, Model::MiniLm, input, contestants).units(2);
            jobs.push(Job { growth: Some(("stacked adapters", adapters)), ..job });
        }
    }
    jobs
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_family_of_servers_has_jobs_with_names_of_their_own() {
        let mut names = BTreeSet::new();
        for family in Family::value_variants() {
            let wanted = Wanted { threads: vec![1, 2], ..Wanted::default() };
            let jobs = jobs(*family, &wanted);
            assert_eq!(jobs.is_empty(), matches!(family, Family::Quickstart | Family::Cold | Family::LmLoad));
            for job in jobs {
                // One point may stand on two charts of growth.
                assert!(names.insert((family.name(), job.growth, job.threads, job.name.clone())), "{}", job.name);
                let compares = job.contestants.len() > 1 || job.growth.is_some();
                assert!(job.units >= job.input.count() && compares && !job.contestants[0].python);
            }
        }
    }

    #[test]
    fn sentences_are_different_rows_of_the_file() {
        let batches = Input::Sentences { batches: 4, size: 256 }.batches();
        let rows: Vec<u64> = batches
            .iter()
            .flat_map(|batch| batch["rows"].as_array().unwrap())
            .map(|row| row.as_u64().unwrap())
            .collect();
        assert_eq!(rows.len(), 1024);
        assert_eq!(rows.iter().collect::<BTreeSet<_>>().len(), 1024);
        assert!(rows.iter().all(|row| *row < SENTENCES as u64));
    }

    #[test]
    fn random_tokens_fill_the_batch_and_are_the_same_each_time() {
        let input = Input::Tokens { rows: 3, length: 5 };
        let batches = input.batches();
        assert_eq!(batches, input.batches());
        let rows = batches[0]["tokens"].as_array().unwrap();
        assert!(rows.len() == 3 && rows.iter().all(|row| row.as_array().unwrap().len() == 5));
    }

    #[test]
    fn quick_jobs_leave_the_large_model_out_and_configurations_can_be_chosen() {
        let wanted = Wanted { configs: vec!["par_bn[reduction_factor=4]".into()], quick: true, ..Wanted::default() };
        assert_eq!(jobs(Family::Step, &wanted).len(), 2);
        let upper = jobs(Family::Upper, &wanted);
        assert_eq!((upper.len(), upper[1].contestants[0].bf16_below), (2, 3));
        assert_eq!(upper[0].contestants[0].config, "par_bn[reduction_factor=4,leave_out=[0,1,2]]");
    }
}
