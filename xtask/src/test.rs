//! All tests.

use crate::backends::{feature_arguments, has_mpi, test_backends, test_distributed};
use crate::check::check;
use crate::examples::examples;
use crate::process::{Done, cargo, run};

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
