//! What tests that change namespaces share.

/// Whether namespaces may be made here; if not, says why. Under `CI=true` they must.
pub(crate) fn root(test: &str) -> bool {
    let Err(error) = anabranch_kernel::Netns::new() else {
        return true;
    };
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "{test}: {error}"
    );
    eprintln!("{test}: skipped: {error}");
    false
}

/// Skips the test where namespaces cannot be made.
macro_rules! require_root {
    () => {
        if !common::root(std::any::type_name_of_val(&|| ())) {
            return;
        }
    };
}
