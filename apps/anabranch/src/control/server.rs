//! The answering side of the control socket.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::{UnixListener, UnixStream};

use super::{Answer, Connection, Request};

/// The longest request there is takes a few dozen bytes.
const MAX_REQUEST: u64 = 4096;

/// What the server tells about.
pub trait Source: Send + Sync + 'static {
    /// A snapshot of all connections.
    fn connections(&self) -> Vec<Connection>;
    /// A snapshot of all counters.
    fn counters(&self) -> BTreeMap<String, u64>;
}

/// A control socket that is bound; its file is removed when this is dropped.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ControlSocket {
    /// Binds `path`, readable and writable for this user alone. A socket left behind by a server
    /// that is gone is replaced.
    ///
    /// # Errors
    /// `AddrInUse` if another server answers there; whatever the file system says.
    pub fn bind(path: &Path) -> io::Result<ControlSocket> {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            fs::create_dir_all(parent)?;
        }
        // Bound in a directory of our own and then moved, so that nobody else can connect between
        // binding and the change of mode.
        let nest = nest_beside(path);
        fs::DirBuilder::new().mode(0o700).create(&nest)?;
        let bound = bind_private(&nest.join("s"), path);
        let removed = fs::remove_dir_all(&nest);
        let listener = bound?;
        removed?;
        Ok(ControlSocket {
            listener,
            path: path.to_owned(),
        })
    }

    /// Answers until dropped.
    pub async fn serve<S: Source>(self, source: Arc<S>) {
        loop {
            match self.listener.accept().await {
                Ok((client, _)) => {
                    let source = Arc::clone(&source);
                    tokio::spawn(async move {
                        // A client that went away mid-answer needs no answer.
                        let _ = answer(client, &*source).await;
                    });
                }
                Err(error) => {
                    tracing::warn!("control socket: {error}");
                    // Out of file descriptors, most likely: let others finish first.
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // Someone else may have removed it already.
        let _ = fs::remove_file(&self.path);
    }
}

fn nest_beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    name.into()
}

fn bind_private(inside: &Path, path: &Path) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(inside)?;
    fs::set_permissions(inside, fs::Permissions::from_mode(0o600))?;
    fs::rename(inside, path)?;
    Ok(listener)
}

async fn answer<S: Source>(client: UnixStream, source: &S) -> io::Result<()> {
    let (read, write) = client.into_split();
    let mut read = BufReader::new(read);
    let mut write = BufWriter::new(write);
    let mut line = String::new();
    loop {
        line.clear();
        if (&mut read).take(MAX_REQUEST).read_line(&mut line).await? == 0 {
            return Ok(());
        }
        for answer in answers(&line, source) {
            let mut text = serde_json::to_vec(&answer)?;
            text.push(b'\n');
            write.write_all(&text).await?;
        }
        write.flush().await?;
    }
}

fn answers<S: Source>(line: &str, source: &S) -> Vec<Answer> {
    let mut answers: Vec<Answer> = match serde_json::from_str(line) {
        Ok(Request::Connections) => source
            .connections()
            .into_iter()
            .map(|c| Answer::Connection(Box::new(c)))
            .collect(),
        Ok(Request::Counters) => vec![Answer::Counters(source.counters())],
        Err(error) => return vec![Answer::Error(error.to_string())],
    };
    let lines = answers.len() as u64;
    answers.push(Answer::End { lines });
    answers
}
