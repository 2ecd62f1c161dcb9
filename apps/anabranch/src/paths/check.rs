//! `anabranch check`: whether a file that says what is wanted of paths can be used.

use std::path::PathBuf;

use anabranch_paths::{Kind, Plan, Policy};
use clap::Args;

use super::file::{self, Wanted};
use crate::cli::Failure;

/// Check a file that says what is wanted of paths, without using it.
///
/// An error names the file, the line in it and the key.
#[derive(Args, Debug, Clone)]
pub struct CheckArgs {
    /// The file (see docs/paths.md)
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// Reads the file and says in a few words what it comes to.
///
/// # Errors
/// One line.
pub fn run(args: &CheckArgs) -> Result<(), Failure> {
    let wanted = file::load(&args.file).map_err(Failure::Failed)?;
    println!("{}: good: {}", args.file.display(), describe(&wanted));
    Ok(())
}

/// What is wanted in a few words.
pub(crate) fn describe(wanted: &Wanted) -> String {
    let plan = &wanted.plan;
    let mut words = name(&plan.policy).to_owned();
    let counted = [
        (plan.policy.endpoints.len(), "endpoint"),
        (plan.rules.len(), "rule for interfaces"),
        (plan.selections.len(), "kind of connections"),
        (wanted.rules.len(), "rule for schedulers"),
    ];
    for (count, what) in counted.into_iter().filter(|(count, _)| *count > 0) {
        words.push_str(&format!(", {count} × {what}"));
    }
    words
}

/// The name of a policy's kind, as in the file.
pub(crate) fn name(policy: &Policy) -> &'static str {
    match policy.kind {
        Kind::OneEach => "one-each",
        Kind::Endpoints => "endpoints",
        Kind::FullMesh => "fullmesh",
        Kind::OnePerInterface => "one-per-interface",
        Kind::NDiffPorts(_) => "ndiffports",
        Kind::Handover(_) => "handover",
        Kind::Server => "server",
    }
}

/// What of a plan means nothing to our own stack, for a warning.
pub(crate) fn unknown_to_own(plan: &Plan) -> Option<&'static str> {
    let mut whens = plan.selections.iter().map(|s| &s.when);
    let asked = whens.any(|when| when.process.is_some() || when.cgroup.is_some());
    asked.then_some(
        "conditions on process and cgroup hold for no connection of our own stack: packets do not \
         tell them",
    )
}
