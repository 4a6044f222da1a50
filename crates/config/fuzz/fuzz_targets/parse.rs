//! Any text, read as a configuration string and as JSON. Run with `cargo fuzz run parse`, from the crate's folder.

#![no_main]

use burn_adapters_config::AdapterConfig;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    for outcome in [text.parse::<AdapterConfig>(), AdapterConfig::from_json_str(&text)] {
        match outcome {
            Ok(config) => {
                assert_eq!(config.to_string().parse().as_ref(), Ok(&config));
                assert_eq!(AdapterConfig::from_json_value(&config.to_json_value()).as_ref(), Ok(&config));
                let _ = config.check_layers(12);
            }
            Err(error) => {
                for problem in error.problems() {
                    assert!(error.text().get(problem.span.clone()).is_some());
                    let _ = (problem.message(), problem.label(), problem.help());
                }
            }
        }
    }
});
