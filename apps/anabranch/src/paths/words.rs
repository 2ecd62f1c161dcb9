//! Arguments in the words of `ip mptcp`: names followed by values, in any order.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// Words of a command line, taken one after the other.
pub(super) struct Words<'a>(std::slice::Iter<'a, String>);

impl<'a> Words<'a> {
    pub(super) fn new(words: &'a [String]) -> Words<'a> {
        Words(words.iter())
    }

    pub(super) fn next(&mut self) -> Option<&'a str> {
        self.0.next().map(String::as_str)
    }

    /// What follows a name.
    ///
    /// # Errors
    /// One line naming it.
    pub(super) fn value<T: FromStr>(&mut self, name: &str, expected: &str) -> Result<T, String> {
        let text = self.next().ok_or(format!("{name}: expected {expected}"))?;
        let parsed = text.parse();
        parsed.map_err(|_| format!("{name} {text}: expected {expected}"))
    }

    pub(super) fn id(&mut self) -> Result<u8, String> {
        self.value("id", "a number from 0 to 255")
    }
}

/// Which subflow of which connection, and what with it.
#[derive(Default)]
pub(super) struct SubflowWords {
    pub(super) connection: Option<String>,
    pub(super) local: Option<SocketAddr>,
    pub(super) remote: Option<SocketAddr>,
    pub(super) backup: Option<bool>,
}

impl SubflowWords {
    /// Reads `token TOKEN local ADDR[:PORT] remote ADDR:PORT [backup|nobackup]`.
    ///
    /// # Errors
    /// One line naming the word.
    pub(super) fn read(words: &[String]) -> Result<SubflowWords, String> {
        let mut read = SubflowWords::default();
        let mut words = Words::new(words);
        while let Some(word) = words.next() {
            match word {
                "token" | "connection" => {
                    read.connection = Some(words.value(word, "what anabranch ss tells")?);
                }
                "local" => {
                    let text: String = words.value(word, "ADDR or ADDR:PORT")?;
                    read.local = Some(
                        local(&text).ok_or(format!("local {text}: expected ADDR or ADDR:PORT"))?,
                    );
                }
                "remote" => read.remote = Some(words.value(word, "ADDR:PORT")?),
                "backup" => read.backup = Some(true),
                "nobackup" => read.backup = Some(false),
                _ => {
                    return Err(format!(
                        "{word}: expected token TOKEN local ADDR[:PORT] remote ADDR:PORT"
                    ));
                }
            }
        }
        Ok(read)
    }

    /// Connection and both ends, which must be given.
    ///
    /// # Errors
    /// One line naming what is missing.
    pub(super) fn whole(&self) -> Result<(String, SocketAddr, SocketAddr), String> {
        let connection = self
            .connection
            .clone()
            .ok_or("token: which connection? (anabranch ss)")?;
        let local = self.local.ok_or("local: from which address?")?;
        let remote = self.remote.ok_or("remote: to which address and port?")?;
        Ok((connection, local, remote))
    }
}

/// An address with a port, or without: any.
fn local(text: &str) -> Option<SocketAddr> {
    let address = |text: &str| Some(SocketAddr::new(text.parse::<IpAddr>().ok()?, 0));
    text.parse().ok().or_else(|| address(text))
}
