//! Command-line tools in the namespace of the calling thread.

use std::io::{self, Write};
use std::process::{Command, Output, Stdio};

/// Runs `program` with arguments separated by blanks; its output if it fails.
pub fn tool(program: &str, arguments: &str) -> io::Result<()> {
    output(program, arguments).map(drop)
}

/// Runs `program` and returns what it prints.
pub fn output(program: &str, arguments: &str) -> io::Result<String> {
    let output = Command::new(program)
        .args(arguments.split_whitespace())
        .output()
        .map_err(|e| io::Error::new(e.kind(), format!("{program}: {e}")))?;
    checked(&format!("{program} {arguments}"), output)
}

/// Runs `program` with `input` on its standard input.
pub fn feed(program: &str, arguments: &str, input: &str) -> io::Result<()> {
    let mut child = Command::new(program)
        .args(arguments.split_whitespace())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| io::Error::new(e.kind(), format!("{program}: {e}")))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    checked(
        &format!("{program} {arguments} <<< {input}"),
        child.wait_with_output()?,
    )
    .map(drop)
}

fn checked(what: &str, output: Output) -> io::Result<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    let (status, error) = (output.status, text(&output.stderr));
    Err(io::Error::other(format!("{what}: {status}: {error}")))
}
