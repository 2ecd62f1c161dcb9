//! The TCP service behind a port: found by name, connected to, found again when it moved.

use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};

use super::args::Target;

/// How long one address may take to answer before the next is tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A service and the addresses it was last found at.
#[derive(Debug)]
pub struct Backend {
    target: Target,
    found: Mutex<Vec<SocketAddr>>,
}

impl Backend {
    /// Looks `target` up for the first time.
    ///
    /// # Errors
    /// The name has no address.
    pub async fn resolve(target: Target) -> io::Result<Backend> {
        let found = look_up(&target).await?;
        Ok(Backend {
            target,
            found: Mutex::new(found),
        })
    }

    /// What it was called on the command line.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Connects to the first address that answers. If none does, the name is looked up again, and
    /// addresses that were not known before are tried.
    ///
    /// # Errors
    /// That of the last address tried, or of the look-up.
    pub async fn connect(&self) -> io::Result<TcpStream> {
        let known = self.addresses();
        let failure = match first_that_answers(&known).await {
            Ok(stream) => return Ok(stream),
            Err(failure) => failure,
        };
        let found = look_up(&self.target).await?;
        let fresh: Vec<_> = found
            .iter()
            .filter(|a| !known.contains(a))
            .copied()
            .collect();
        *self.lock() = found;
        if fresh.is_empty() {
            Err(failure)
        } else {
            first_that_answers(&fresh).await
        }
    }

    /// Where it was last found.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<SocketAddr>> {
        // A list is whole whatever happened to its last holder.
        self.found
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

async fn look_up(target: &Target) -> io::Result<Vec<SocketAddr>> {
    let found: Vec<_> = lookup_host((target.host.as_str(), target.port))
        .await?
        .collect();
    if found.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "the name has no address",
        ));
    }
    Ok(found)
}

async fn first_that_answers(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for &address in addresses {
        match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Chunks are forwarded as they come: waiting for more would only delay them.
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Ok(Err(error)) => failure = error,
            Err(_) => failure = io::Error::from(io::ErrorKind::TimedOut),
        }
    }
    Err(failure)
}
