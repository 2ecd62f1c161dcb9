//! The asking side of the control socket.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::{Answer, Request};

/// A server that says nothing for this long does not answer at all.
const SILENCE: Duration = Duration::from_secs(10);

/// Sends `request` to the server at `path` and gives each line of its answer to `each`.
///
/// # Errors
/// One line that says what to do: no server there, no permission, or not an anabranch server.
pub fn ask(path: &Path, request: &Request, mut each: impl FnMut(Answer)) -> Result<(), String> {
    exchange(path, request, Some(SILENCE), &mut each)
}

/// As [`ask`], but the server may say nothing for any time.
///
/// # Errors
/// Those of [`ask`].
pub fn listen(path: &Path, request: &Request, mut each: impl FnMut(Answer)) -> Result<(), String> {
    exchange(path, request, None, &mut each)
}

fn exchange(
    path: &Path,
    request: &Request,
    silence: Option<Duration>,
    each: &mut dyn FnMut(Answer),
) -> Result<(), String> {
    let stream = UnixStream::connect(path).map_err(|error| cannot_connect(path, &error))?;
    let broken = |error: io::Error| format!("the server at {} broke off: {error}", path.display());
    stream.set_read_timeout(silence).map_err(broken)?;
    let mut line = serde_json::to_string(request).map_err(|error| error.to_string())?;
    line.push('\n');
    (&stream).write_all(line.as_bytes()).map_err(broken)?;
    for line in BufReader::new(&stream).lines() {
        let line = line.map_err(broken)?;
        let answer = serde_json::from_str(&line)
            .map_err(|error| format!("{} does not speak this protocol: {error}", path.display()))?;
        match answer {
            Answer::End { .. } => return Ok(()),
            Answer::Error(reason) => return Err(format!("the server refused: {reason}")),
            answer => each(answer),
        }
    }
    Err(broken(io::ErrorKind::UnexpectedEof.into()))
}

fn cannot_connect(path: &Path, error: &io::Error) -> String {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => format!(
            "no server answers at {path}: start one with `anabranch serve`, or name its socket \
             with --control"
        ),
        io::ErrorKind::PermissionDenied => {
            format!("{path} may be used only by the user who runs the server: try sudo")
        }
        _ => format!("cannot connect to {path}: {error}"),
    }
}
