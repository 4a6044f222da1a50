//! Goldens: results of the Python reference, and the check that it reads what we write.

use std::fs::File;
use std::process::Command;

use crate::process::{Done, cargo, root, run};
use crate::process::{mlx, reference};

/// The goldens of crates that are large enough to be kept compressed.
const COMPRESSED: [&str; 11] = [
    "chat/tests/goldens/templates.json",
    "compacter/tests/goldens/phm.json",
    "fusion/tests/goldens/fusion.json",
    "merging/tests/goldens/peft.json",
    "merging/tests/goldens/reference.json",
    "prefix-tuning/tests/goldens/prefix.json",
    "quantization/tests/goldens/blocks.json",
    "reft/tests/goldens/reft.json",
    "train/tests/goldens/masks.json",
    "transformers/tests/goldens/pairs.json",
    "transformers/tests/goldens/tokenizers.json",
];

/// Scripts under `crates` that make the small goldens of single crates, and the file beside each that takes what it
/// prints; one without writes its files itself.
const CRATE_SCRIPTS: [(&str, Option<&str>); 15] = [
    ("chat/tests/goldens/make.py", None),
    ("composition/tests/goldens/make.py", None),
    ("config/tests/goldens/make.py", None),
    ("compacter/tests/goldens/phm.py", Some("phm.json")),
    ("invertible/tests/goldens/invertible.py", Some("invertible.json")),
    ("fusion/tests/goldens/make.py", Some("fusion.json")),
    ("merging/tests/goldens/make.py", None),
    ("prefix-tuning/tests/goldens/make.py", Some("prefix.json")),
    ("prompt-tuning/tests/goldens/make.py", Some("prompt.json")),
    ("reft/tests/goldens/make.py", Some("reft.json")),
    ("quantization/tests/goldens/blocks.py", Some("blocks.json")),
    ("train/tests/goldens/masks.py", None),
    ("train/tests/goldens/spans.py", Some("spans.json")),
    ("train/tests/goldens/texts.py", None),
    ("transformers/tests/python/make_tokenizer_goldens.py", None),
];

pub(crate) fn goldens(check_only: bool) -> Done {
    let python = reference(&root().join("target/reference"))?;
    let scripts = root().join("tests/python");
    if !check_only {
        let output = root().join("target/goldens");
        run(
            "goldens of the reference",
            Command::new(&python).arg(scripts.join("make_goldens.py")).arg("--output").arg(&output),
        )?;
        run(
            "goldens of models in other formats",
            Command::new(&python).arg(scripts.join("make_loading_goldens.py")).arg("--output").arg(&output),
        )?;
        run(
            "goldens of compositions",
            Command::new(&python).arg(scripts.join("make_composition_goldens.py")).arg("--output").arg(&output),
        )?;
        run(
            "goldens of other folders",
            Command::new(&python).arg(scripts.join("make_folder_goldens.py")).arg("--output").arg(&output),
        )?;
        run(
            "goldens of other families",
            Command::new(&python).arg(scripts.join("make_family_goldens.py")).arg("--output").arg(&output),
        )?;
        run(
            "goldens of every configuration",
            Command::new(&python).arg(scripts.join("make_matrix_goldens.py")).arg("--output").arg(&output),
        )?;
        run(
            "goldens of heads",
            Command::new(&python).arg(scripts.join("make_head_goldens.py")).arg("--output").arg(&output),
        )?;
        run(
            "goldens of language models",
            Command::new(&python).arg(scripts.join("make_output_goldens.py")).arg("--output").arg(&output),
        )?;
        run(
            "goldens of pairs",
            Command::new(&python).arg(scripts.join("make_pair_goldens.py")).arg("--output").arg(&output),
        )?;
        run(
            "goldens of GGUF files",
            Command::new(&python).arg(scripts.join("make_gguf_goldens.py")).arg("--output").arg(&output),
        )?;
        run(
            "goldens of PEFT",
            Command::new(&python).arg(scripts.join("make_peft_goldens.py")).arg("--output").arg(&output),
        )?;
        run(
            "goldens of preferences",
            Command::new(&python).arg(scripts.join("make_preference_goldens.py")).arg("--output").arg(&output),
        )?;
        run(
            "packing",
            Command::new(&python).arg(scripts.join("pack.py")).arg(&output).arg(root().join("tests/goldens")),
        )?;
        for (script, printed) in CRATE_SCRIPTS {
            let path = root().join("crates").join(script);
            let mut command = Command::new(&python);
            command.arg(&path);
            if let Some(file) = printed {
                let file = path.with_file_name(file);
                let file = File::create(&file).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
                command.stdout(file);
            }
            run(&format!("goldens of crates/{script}"), &mut command)?;
        }
        for file in COMPRESSED {
            let mut command = Command::new(&python);
            command.arg(scripts.join("pack.py")).arg("--file").arg(root().join("crates").join(file));
            run(&format!("compressing crates/{file}"), &mut command)?;
        }
        run("tests against the goldens", cargo().args(["test", "-p", "burn-adapters-tests"]))?;
    }
    let written = root().join("target/roundtrip");
    run(
        "writing adapters for the reference",
        cargo()
            .args(["test", "-p", "burn-adapters-tests", "--test", "all", "roundtrip"])
            .env("BURN_ADAPTERS_ROUNDTRIP_DIR", &written),
    )?;
    run(
        "the reference reads what we write",
        Command::new(&python).arg(scripts.join("check_roundtrip.py")).arg(&written),
    )?;
    let written = root().join("target/peft");
    run(
        "writing adapters for PEFT",
        cargo()
            .args(["test", "-p", "burn-adapters-tests", "--test", "all", "peft"])
            .env("BURN_ADAPTERS_PEFT_DIR", &written),
    )?;
    run(
        "PEFT reads what we write",
        Command::new(&python).arg(scripts.join("check_written.py")).arg("peft").arg(&written),
    )?;
    let python_of_mlx = mlx(&root().join("target/mlx-lm"))?;
    let written = root().join("target/mlx");
    run(
        "writing adapters for mlx-lm",
        cargo()
            .args(["test", "-p", "burn-adapters-tests", "--test", "all", "mlx"])
            .env("BURN_ADAPTERS_MLX_DIR", &written),
    )?;
    run(
        "mlx-lm reads what we write",
        Command::new(&python_of_mlx).arg(scripts.join("check_written.py")).arg("mlx").arg(&written),
    )?;
    let written = root().join("target/tokens");
    run(
        "writing the ids of texts",
        cargo()
            .args(["test", "-p", "burn-adapters-tests", "--test", "all", "smollm2::texts"])
            .env("BURN_ADAPTERS_TOKENS_DIR", &written),
    )?;
    run(
        "the reference's tokenizer gives the same ids",
        Command::new(&python).arg(scripts.join("check_written.py")).arg("tokens").arg(&written),
    )?;
    let written = root().join("target/llama.cpp");
    run(
        "writing models and adapters for llama.cpp",
        cargo()
            .args(["test", "-p", "burn-adapters-tests", "--test", "all", "gguf::lora"])
            .env("BURN_ADAPTERS_LLAMA_CPP_DIR", &written),
    )?;
    run(
        "llama.cpp runs what we write",
        Command::new(&python).arg(scripts.join("check_written.py")).arg("llama.cpp").arg(&written),
    )
}
