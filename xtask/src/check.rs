//! All checks: formatting, tidiness, lints, documentation, and tests.

use crate::backends::{LEARNER, feature_arguments, has_mpi, test_backends, test_distributed};
use crate::examples::examples;
use crate::process::{Done, cargo, run};
use crate::tidy::tidy;

pub(crate) fn check() -> Done {
    run("formatting", cargo().args(["fmt", "--all", "--", "--check"]))?;
    tidy()?;
    let lint = ["clippy", "--workspace", "--all-targets", "--features", LEARNER, "--", "-D", "warnings"];
    run("clippy", cargo().args(lint))?;
    run(
        "documentation",
        cargo()
            .args(["doc", "--workspace", "--no-deps", "--quiet", "--features", LEARNER])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )
}

pub(crate) fn test(quick: bool) -> Done {
    if quick {
        return run("tests", cargo().args(["test", "--workspace"]).env("BURN_DEVICE", "flex"));
    }
    check()?;
    let arguments = feature_arguments();
    run("tests", cargo().args(["test", "--workspace"]).args(arguments).env("BURN_DEVICE", "flex"))?;
    if !has_mpi() {
        // Says that they are skipped; otherwise they were among the tests above.
        test_distributed()?;
    }
    examples()?;
    // The tests above were those on flex.
    test_backends(Some(crate::Backend::Ndarray))?;
    test_backends(Some(crate::Backend::Wgpu))
}
