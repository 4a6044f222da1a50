//! The README's first program, run on a tiny model: a program of its own, because it changes the working directory.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::Workplace;

mod program {
    include!("readme/program.rs");

    pub(super) fn run() -> Result<(), Box<dyn std::error::Error>> {
        main()
    }
}

#[test]
fn the_first_program_of_the_readme_runs() {
    let readme = include_str!("../../../README.md");
    let block = readme.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next());
    let program = include_str!("readme/program.rs");
    assert_eq!(block, Some(program), "the README's program and tests/readme/program.rs must be the same");

    let place = Workplace::new();
    place.model("all-MiniLM-L6-v2", 2);
    // This is the only test of the process.
    std::env::set_current_dir(place.dir.path()).unwrap();
    program::run().unwrap();
}
