//! The jobs of language models: SmolLM2-135M with its weights in f32, in bf16, and in the blocks of its GGUF file.

use super::floor::Work;
use super::jobs::{Agreement, Contestant, Family, Input, Job, LLAMA_CPP, Model, Wanted};

/// LoRA on the query and value matrices, and on every matrix.
const LORAS: [(&str, &str); 2] = [
    ("q and v", "lora[r=8,alpha=16,attn_matrices=['q','v']]"),
    (
        "all matrices",
        "lora[r=8,alpha=16,attn_matrices=['q','k','v','o'],gate_lora=True,intermediate_lora=True,output_lora=True]",
    ),
];

/// The number of tokens that are generated.
const NEW_TOKENS: usize = 64;

/// The format of the frozen weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weights {
    F32,
    Bf16,
    Stored,
}

impl Weights {
    const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::Stored];

    fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Stored => "Q4_1",
        }
    }

    /// Our side with these weights.
    fn ours(self, kind: &'static str) -> Contestant {
        let (bf16, stored) = (self == Self::Bf16, self == Self::Stored);
        Contestant { bf16, stored, adapters: 0, noise: 0.01, ..Contestant::ours(kind, LORAS[0].1) }
    }

    /// PyTorch in bf16 against our bf16, otherwise in f32: products with blocks are those of the dequantized weights.
    fn pytorch(self, kind: &'static str) -> Contestant {
        let (name, agreement) = match self {
            Self::Bf16 => ("PyTorch, bf16", Agreement::Bf16),
            Self::F32 | Self::Stored => ("PyTorch, f32", Agreement::Rounding),
        };
        Contestant { python: true, stored: false, ..self.ours(kind) }.called(name).agreeing(agreement)
    }
}

fn llama_cpp(kind: &'static str) -> Contestant {
    let one = Contestant { python: true, library: Some(LLAMA_CPP), ..Weights::Stored.ours(kind) };
    one.called(LLAMA_CPP).agreeing(Agreement::BestToken)
}

/// The jobs of a family, for each number of threads.
pub(super) fn jobs(family: Family, wanted: &Wanted) -> Vec<Job> {
    let of = match family {
        Family::LmTrain => training(wanted),
        Family::LmPrompt => prompts(),
        Family::LmGenerate => generation(),
        Family::LmGrowth => growth(wanted),
        _ => Vec::new(),
    };
    let with =
        |threads: &usize| of.iter().map(|job| Job { threads: Some(*threads), ..job.clone() }).collect::<Vec<_>>();
    wanted.threads.iter().flat_map(with).collect()
}

fn job(family: Family, name: &str, input: Input, contestants: Vec<Contestant>) -> Job {
    Job::new(family, name, Model::SmolLm2, input, contestants).working(Work::Nothing)
}

fn training(wanted: &Wanted) -> Vec<Job> {
    let loras: Vec<(&str, &str)> = match wanted.configs.as_slice() {
        [] if wanted.quick => LORAS[..1].to_vec(),
        [] => LORAS.to_vec(),
        own => own.iter().map(|config| (config.as_str(), config.as_str())).collect(),
    };
    let mut jobs = Vec::new();
    for (on, config) in loras {
        for rows in if wanted.quick { vec![1] } else { vec![1, 4] } {
            for weights in Weights::ALL {
                let with = |one: Contestant| Contestant { config: config.to_owned(), adapters: 1, ..one };
                let mut theirs = weights.pytorch("lm_step");
                theirs.label = theirs.label.replace("PyTorch", "PEFT");
                let contestants = vec![with(weights.ours("lm_step")), with(theirs)];
                let name = format!("step, LoRA on {on}, {}", weights.name());
                let job = job(Family::LmTrain, &name, Input::Tokens { rows, length: 512 }, contestants);
                let mut again = job.clone();
                again.contestants[0] = Contestant { checkpoints: true, ..job.contestants[0].clone() };
                again.name = format!("{}, layers again", job.name);
                jobs.extend([job, again]);
            }
        }
    }
    jobs
}

fn prompts() -> Vec<Job> {
    let of = |weights: Weights| {
        let mut contestants = vec![weights.ours("lm_prompt"), weights.pytorch("lm_prompt")];
        if weights == Weights::Stored {
            contestants.insert(1, llama_cpp("lm_prompt"));
        }
        let name = format!("prompt, {}", weights.name());
        job(Family::LmPrompt, &name, Input::Tokens { rows: 1, length: 512 }, contestants)
    };
    Weights::ALL.into_iter().map(of).collect()
}

fn generation() -> Vec<Job> {
    let generate = |name: &str, rows: usize, contestants: Vec<Contestant>| {
        let name = format!("{NEW_TOKENS} new tokens, {name}");
        let job = job(Family::LmGenerate, &name, Input::Tokens { rows, length: 64 }, contestants);
        Job { new_tokens: NEW_TOKENS, ..job }
    };
    let ours = |weights: Weights| weights.ours("lm_generate");
    let in_f32 = || vec![ours(Weights::F32), Weights::F32.pytorch("lm_generate")];
    let with_adapters = |adapters: usize, label: &str| Contestant { adapters, ..ours(Weights::Stored) }.called(label);
    vec![
        generate("f32", 1, in_f32()),
        generate("f32", 8, in_f32()),
        generate("Q4_1", 1, vec![ours(Weights::Stored), llama_cpp("lm_generate")]),
        generate("Q4_1", 8, vec![ours(Weights::Stored), ours(Weights::F32).called("ours, f32")]),
        generate("Q4_1, LoRA", 8, vec![with_adapters(8, "8 adapters, mixed"), with_adapters(1, "1 adapter").other()]),
    ]
}

/// How time grows with the length of a prompt, the rows of a batch, the layers, the adapters of a bank, and the rank.
fn growth(wanted: &Wanted) -> Vec<Job> {
    let some = |quick: &[usize], all: &[usize]| if wanted.quick { quick.to_vec() } else { all.to_vec() };
    let job = |of: &'static str, value: usize, name: &str, [rows, length]: [usize; 2], contestants: Vec<Contestant>| {
        let job = job(Family::LmGrowth, name, Input::Tokens { rows, length }, contestants);
        Job { growth: Some((of, value)), ..job }
    };
    let ours = |kind: &'static str| Weights::Stored.ours(kind);
    let mut jobs = Vec::new();
    for length in some(&[128, 512], &[128, 256, 512, 1024, 2048, 4096, 8192]) {
        let contestants = vec![ours("lm_prompt"), llama_cpp("lm_prompt"), Weights::Stored.pytorch("lm_prompt")];
        jobs.push(job("tokens of a prompt", length, "prompt, Q4_1", [1, length], contestants));
    }
    for rows in some(&[1, 8], &[1, 2, 4, 8, 16, 32, 64]) {
        let one = job("rows of a batch", rows, "16 new tokens, Q4_1", [rows, 64], vec![ours("lm_generate")]);
        jobs.push(Job { new_tokens: 16, ..one });
    }
    for layers in some(&[8, 15], &[8, 15, 30, 60]) {
        let contestants = vec![Weights::F32.ours("lm_prompt"), Weights::F32.pytorch("lm_prompt")];
        let input = Input::Tokens { rows: 1, length: 512 };
        let one = Job::new(Family::LmGrowth, "prompt, f32", Model::Decoder(layers), input, contestants);
        jobs.push(Job { growth: Some(("layers of a decoder", layers)), ..one.working(Work::Nothing) });
    }
    for adapters in some(&[1, 100], &[1, 10, 100, 1000]) {
        let with = vec![Contestant { adapters, ..ours("lm_generate") }];
        let name = format!("16 new tokens, Q4_1, LoRA, {adapters} in the bank");
        let one = job("adapters in a bank", adapters, &name, [4, 64], with);
        jobs.push(Job { new_tokens: 16, ..one });
    }
    for rank in some(&[4, 64], &[4, 8, 16, 32, 64, 128, 256]) {
        let config = LORAS[0].1.replace("r=8,alpha=16", &format!("r={rank},alpha={rank}"));
        let with = |one: Contestant| Contestant { config: config.clone(), adapters: 1, ..one };
        let mut theirs = with(Weights::F32.pytorch("lm_step"));
        theirs.label = theirs.label.replace("PyTorch", "PEFT");
        let contestants = vec![with(Weights::F32.ours("lm_step")), theirs];
        jobs.push(job("rank of LoRA", rank, &format!("step, LoRA of rank {rank}, f32"), [1, 256], contestants));
    }
    jobs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(quick: bool) -> Wanted {
        Wanted { threads: vec![1, 2], quick, ..Wanted::default() }
    }

    #[test]
    fn every_job_is_measured_with_each_number_of_threads() {
        for family in [Family::LmTrain, Family::LmPrompt, Family::LmGenerate, Family::LmGrowth] {
            let jobs = jobs(family, &wanted(false));
            let (one, two): (Vec<&Job>, Vec<&Job>) = jobs.iter().partition(|job| job.threads == Some(1));
            assert_eq!(one.len(), two.len());
            assert!(two.iter().all(|job| job.threads == Some(2) && job.tokens().is_some()));
        }
        assert_eq!(jobs(Family::LmTrain, &wanted(false)).len(), 48);
        assert_eq!(jobs(Family::LmTrain, &wanted(true)).len(), 12);
    }

    #[test]
    fn only_ours_reads_blocks_and_llama_cpp_only_they_are_compared_with() {
        for family in [Family::LmTrain, Family::LmPrompt, Family::LmGenerate, Family::LmGrowth] {
            for job in jobs(family, &wanted(false)) {
                let pytorch = |one: &&Contestant| one.python && !one.is_llama_cpp();
                assert!(job.contestants.iter().filter(pytorch).all(|one| !one.stored), "{}", job.name);
                if job.contestants.iter().any(Contestant::is_llama_cpp) {
                    assert!(job.contestants[0].stored && job.input.batches()[0]["tokens"][1].is_null(), "{}", job.name);
                }
            }
        }
    }
}
