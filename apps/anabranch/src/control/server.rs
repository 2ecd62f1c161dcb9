//! The answering side of the control socket.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use super::{Answer, Connection, Decision, PathNews, Request};

/// The longest request there is takes a few hundred bytes.
const MAX_REQUEST: u64 = 4096;

/// But for one that has a file in it, which has 1 MB at most.
const MAX_WITH_FILE: u64 = 8 << 20;

/// How that begins.
const WITH_FILE: &str = "{\"ask\":\"preview\"";

/// What a connection is to use from now on, as it is written; `None`: what it has.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Scheduler.
    pub scheduler: Option<&'a str>,
    /// Congestion control.
    pub congestion: Option<&'a str>,
    /// What the peer is told about paths.
    pub steer: Option<&'a str>,
}

/// What the server tells about.
pub trait Source: Send + Sync + 'static {
    /// A snapshot of all connections.
    fn connections(&self) -> Vec<Connection>;
    /// Some of them, and where to go on, from 0 on: where there are very many, they are told by
    /// and by.
    fn connections_from(&self, from: usize) -> (Vec<Connection>, Option<usize>) {
        debug_assert_eq!(from, 0, "there was nothing more");
        (self.connections(), None)
    }
    /// A snapshot of all counters.
    fn counters(&self) -> BTreeMap<String, u64>;
    /// Changes a connection.
    ///
    /// # Errors
    /// One line: no such connection, or not possible with it.
    fn set(&self, connection: &str, wanted: Wanted<'_>) -> Result<(), String> {
        let _ = (connection, wanted);
        Err("nothing can be set here".to_owned())
    }
    /// The last decisions of a connection's scheduler; `stop`: keep none from now on.
    ///
    /// # Errors
    /// One line: no such connection, or it has no scheduler.
    fn why(&self, connection: &str, stop: bool) -> Result<Vec<Decision>, String> {
        let _ = (connection, stop);
        Err("no decisions are kept here".to_owned())
    }
    /// Does, or tells, what is asked of paths.
    ///
    /// # Errors
    /// One line: what is wrong with it, or not possible here.
    fn paths(&self, request: Request) -> Result<Vec<Answer>, String> {
        let _ = request;
        Err("paths are not managed here".to_owned())
    }
    /// What happens to paths from now on; each word of it is an [`Answer::Event`].
    ///
    /// # Errors
    /// One line.
    fn monitor(&self) -> Result<News, String> {
        Err("what happens to paths is not told here".to_owned())
    }
}

/// What happens to paths, as it happens; it ends when the engine does.
pub type News = mpsc::Receiver<PathNews>;

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
        if !line.ends_with('\n') && line.starts_with(WITH_FILE) {
            (&mut read).take(MAX_WITH_FILE).read_line(&mut line).await?;
        }
        let request = serde_json::from_str::<Request>(&line);
        if let Ok(Request::Connections) = request {
            tell_connections(source, &mut write).await?;
        } else if let Ok(Request::Monitor) = request {
            match source.monitor() {
                Ok(news) => return tell(news, &mut read, &mut write).await,
                Err(reason) => say(&mut write, &Answer::Error(reason)).await?,
            }
        } else {
            for answer in answers(&line, source) {
                say(&mut write, &answer).await?;
            }
        }
        write.flush().await?;
    }
}

async fn say(write: &mut (impl AsyncWriteExt + Unpin), answer: &Answer) -> io::Result<()> {
    let mut text = serde_json::to_vec(answer)?;
    text.push(b'\n');
    write.write_all(&text).await
}

/// Tells of all connections; between some and the next, whoever else has something to do goes on.
async fn tell_connections(
    source: &impl Source,
    write: &mut (impl AsyncWriteExt + Unpin),
) -> io::Result<()> {
    let (mut from, mut lines) = (Some(0), 0);
    while let Some(at) = from {
        let (page, next) = source.connections_from(at);
        lines += page.len() as u64;
        for connection in page {
            say(write, &Answer::Connection(Box::new(connection))).await?;
        }
        from = next;
        tokio::task::yield_now().await;
    }
    say(write, &Answer::End { lines }).await
}

/// Tells the news until there are no more, or the client has gone: it has nothing more to ask.
async fn tell(
    mut news: News,
    read: &mut (impl AsyncReadExt + Unpin),
    write: &mut (impl AsyncWriteExt + Unpin),
) -> io::Result<()> {
    let mut rest = [0; 64];
    loop {
        tokio::select! {
            next = news.recv() => match next {
                Some(next) => {
                    say(write, &Answer::Event(next)).await?;
                    write.flush().await?;
                }
                None => return Ok(()),
            },
            asked = read.read(&mut rest) => if asked? == 0 {
                return Ok(());
            },
        }
    }
}

fn answers<S: Source>(line: &str, source: &S) -> Vec<Answer> {
    let mut answers: Vec<Answer> = match serde_json::from_str(line) {
        Ok(Request::Counters) => vec![Answer::Counters(source.counters())],
        Ok(Request::Set {
            connection,
            scheduler,
            congestion,
            steer,
        }) => {
            let wanted = Wanted {
                scheduler: scheduler.as_deref(),
                congestion: congestion.as_deref(),
                steer: steer.as_deref(),
            };
            match source.set(&connection, wanted) {
                Ok(()) => Vec::new(),
                Err(reason) => return vec![Answer::Error(reason)],
            }
        }
        Ok(Request::Why { connection, stop }) => match source.why(&connection, stop) {
            Ok(decisions) => decisions
                .into_iter()
                .map(|it| Answer::Decision(Box::new(it)))
                .collect(),
            Err(reason) => return vec![Answer::Error(reason)],
        },
        Ok(request) => match source.paths(request) {
            Ok(answers) => answers,
            Err(reason) => return vec![Answer::Error(reason)],
        },
        Err(error) => return vec![Answer::Error(error.to_string())],
    };
    let lines = answers.len() as u64;
    answers.push(Answer::End { lines });
    answers
}
