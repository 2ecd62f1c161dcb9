//! `anabranch endpoint`, `limits`, `subflow`, `monitor`, `reload`: what `ip mptcp` has, for
//! whichever engine runs.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anabranch_paths::Flags;
use clap::{Args, Subcommand, ValueEnum};

use super::words::{SubflowWords, Words};
use crate::cli::Failure;
use crate::control::{Answer, Endpoint, Request, client};
use crate::serve::args::CONTROL_PATH;

/// Where the daemon that manages the kernel's paths answers.
pub const PM_CONTROL_PATH: &str = "/run/anabranch/pm.sock";

/// Whose paths are meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum EngineName {
    /// Our own stack: `anabranch serve`, or `connect --control`.
    Own,
    /// Linux's own, managed by `anabranch pm`.
    Kernel,
}

/// Whom to ask.
#[derive(Args, Debug, Clone)]
pub struct EngineArgs {
    /// Whose paths are meant [default: that of the two which runs]
    #[arg(long, value_enum, value_name = "ENGINE")]
    pub engine: Option<EngineName>,

    /// The control socket of the engine [default: where it is by default]
    #[arg(long, value_name = "PATH")]
    pub control: Option<PathBuf>,

    /// Print JSON, one object a line (docs/control.md)
    #[arg(long)]
    pub json: bool,
}

impl EngineArgs {
    /// The socket: of the engine asked for, or of the one that answers.
    fn socket(&self) -> PathBuf {
        let answers = |path: &str| std::os::unix::net::UnixStream::connect(path).is_ok();
        match (&self.control, self.engine) {
            (Some(path), _) => path.clone(),
            (None, Some(EngineName::Kernel)) => PM_CONTROL_PATH.into(),
            (None, None) if !answers(CONTROL_PATH) && answers(PM_CONTROL_PATH) => {
                PM_CONTROL_PATH.into()
            }
            (None, _) => CONTROL_PATH.into(),
        }
    }

    /// Asks, and prints what is answered.
    fn ask(&self, request: &Request) -> Result<(), Failure> {
        ask(&self.socket(), request, self.json, false)
    }
}

/// Prints what is answered; `endless`: until the engine ends.
fn ask(socket: &Path, request: &Request, json: bool, endless: bool) -> Result<(), Failure> {
    let mut broken = None;
    let each = |answer| {
        let line = if json {
            serde_json::to_string(&answer).ok()
        } else {
            in_words(&answer)
        };
        if let Some(line) = line
            && let Err(error) = writeln!(io::stdout(), "{line}")
        {
            // Whoever reads us has seen enough.
            if error.kind() == io::ErrorKind::BrokenPipe {
                std::process::exit(0);
            }
            broken.get_or_insert(error);
        }
    };
    let asked = match endless {
        true => client::listen(socket, request, each),
        false => client::ask(socket, request, each),
    };
    asked.map_err(Failure::Failed)?;
    match broken {
        Some(error) => Err(Failure::Failed(format!("cannot print: {error}"))),
        None => Ok(()),
    }
}

fn in_words(answer: &Answer) -> Option<String> {
    match answer {
        Answer::Endpoint(endpoint) => Some(endpoint.to_string()),
        Answer::Limits(limits) => Some(limits.to_string()),
        Answer::Event(news) => Some(news.to_string()),
        Answer::Done(text) => Some(text.clone()),
        Answer::Would(would) => {
            let commands = match would.commands.is_empty() {
                true => "nothing".to_owned(),
                false => would.commands.join("; "),
            };
            Some(format!("{} > {}: {commands}", would.local, would.peer))
        }
        _ => None,
    }
}

/// Endpoints: addresses of this host, and what each is for. The words are those of `ip mptcp
/// endpoint`.
#[derive(Args, Debug, Clone)]
#[command(after_help = "Examples:\n  \
    anabranch endpoint add 198.51.100.7 dev wwan0 subflow backup\n  \
    anabranch endpoint change id 1 nobackup\n  anabranch endpoint show")]
pub struct EndpointArgs {
    #[command(subcommand)]
    command: EndpointCommand,
}

#[derive(Subcommand, Debug, Clone)]
enum EndpointCommand {
    /// ADDR [ port PORT ] [ dev IFNAME ] [ id ID ] [ signal | subflow | backup | fullmesh | laminar ]...
    Add(WordArgs),
    /// { id ID | ADDR } { backup | nobackup | fullmesh | nofullmesh }
    Change(WordArgs),
    /// id ID
    #[command(alias = "del")]
    Delete(WordArgs),
    /// [ id ID ]
    #[command(alias = "list")]
    Show(WordArgs),
    /// Delete all endpoints
    Flush(WordArgs),
}

/// Words, and whom to tell them.
#[derive(Args, Debug, Clone)]
pub struct WordArgs {
    #[arg(value_name = "WORD")]
    words: Vec<String>,
    #[command(flatten)]
    engine: EngineArgs,
}

/// Does what the words say.
///
/// # Errors
/// One line.
pub fn endpoint(args: &EndpointArgs) -> Result<(), Failure> {
    match &args.command {
        EndpointCommand::Add(args) => {
            let endpoint = read_endpoint(&args.words).map_err(Failure::Usage)?;
            args.engine.ask(&Request::EndpointAdd { endpoint })
        }
        EndpointCommand::Change(args) => {
            let request = read_change(&args.words).map_err(Failure::Usage)?;
            args.engine.ask(&request)
        }
        EndpointCommand::Delete(args) => {
            let id = read_id(&args.words).map_err(Failure::Usage)?;
            let id = id.ok_or_else(|| Failure::Usage("endpoint delete: expected id ID".into()))?;
            args.engine.ask(&Request::EndpointDelete { id })
        }
        EndpointCommand::Show(args) => {
            let wanted = read_id(&args.words).map_err(Failure::Usage)?;
            show(&args.engine, wanted)
        }
        EndpointCommand::Flush(args) => {
            nothing_more(&args.words).map_err(Failure::Usage)?;
            args.engine.ask(&Request::EndpointFlush)
        }
    }
}

fn show(engine: &EngineArgs, wanted: Option<u8>) -> Result<(), Failure> {
    let mut found = Vec::new();
    let request = Request::Endpoints;
    client::ask(&engine.socket(), &request, |answer| found.push(answer))
        .map_err(Failure::Failed)?;
    let meant = |answer: &&Answer| match answer {
        Answer::Endpoint(endpoint) => wanted.is_none_or(|id| endpoint.id == id),
        _ => false,
    };
    let mut some = false;
    for answer in found.iter().filter(meant) {
        some = true;
        let json = || serde_json::to_string(answer).ok();
        let line = if engine.json {
            json()
        } else {
            in_words(answer)
        };
        println!("{}", line.unwrap_or_default());
    }
    match wanted {
        Some(id) if !some => Err(Failure::Failed(format!(
            "id {id}: there is no such endpoint"
        ))),
        _ => Ok(()),
    }
}

fn read_endpoint(words: &[String]) -> Result<Endpoint, String> {
    let mut words = Words::new(words);
    let expected = "ADDR [ port PORT ] [ dev IFNAME ] [ id ID ] [ FLAG ]...";
    let mut endpoint = Endpoint {
        address: words.value("endpoint add", expected)?,
        id: 0,
        port: None,
        flags: Vec::new(),
        dev: None,
        derived: false,
    };
    while let Some(word) = words.next() {
        match word {
            "port" => endpoint.port = Some(words.value("port", "1 to 65535")?),
            "dev" => endpoint.dev = Some(words.value("dev", "the name of an interface")?),
            "id" => endpoint.id = words.id()?,
            flag if Flags::by_name(flag).is_some() => endpoint.flags.push(flag.to_owned()),
            _ => return Err(format!("{word}: expected {expected}")),
        }
    }
    Ok(endpoint)
}

fn read_change(words: &[String]) -> Result<Request, String> {
    let mut words = Words::new(words);
    let (mut id, mut address) = (0, None);
    let (mut set, mut clear) = (Vec::new(), Vec::new());
    while let Some(word) = words.next() {
        match (word, word.parse()) {
            ("id", _) => id = words.id()?,
            ("backup" | "fullmesh", _) => set.push(word.to_owned()),
            ("nobackup" | "nofullmesh", _) => clear.push(word[2..].to_owned()),
            (_, Ok(addr)) => address = Some(addr),
            _ => {
                return Err(format!(
                    "{word}: expected id ID or ADDR, and backup, nobackup, fullmesh or nofullmesh"
                ));
            }
        }
    }
    if id == 0 && address.is_none() {
        return Err("endpoint change: which? expected id ID or ADDR".to_owned());
    }
    Ok(Request::EndpointChange {
        id,
        address,
        set,
        clear,
    })
}

fn read_id(words: &[String]) -> Result<Option<u8>, String> {
    let mut words = Words::new(words);
    match words.next() {
        None => Ok(None),
        Some("id") => words.id().map(Some),
        Some(word) => Err(format!("{word}: expected id ID")),
    }
}

fn nothing_more(words: &[String]) -> Result<(), String> {
    match words.first() {
        Some(word) => Err(format!("{word}: nothing was expected here")),
        None => Ok(()),
    }
}

/// How many subflows and announced addresses a connection may have. The words are those of
/// `ip mptcp limits`.
#[derive(Args, Debug, Clone)]
pub struct LimitsArgs {
    #[command(subcommand)]
    command: LimitsCommand,
}

#[derive(Subcommand, Debug, Clone)]
enum LimitsCommand {
    /// [ subflows NUMBER ] [ add_addr_accepted NUMBER ]
    Set(WordArgs),
    /// Print them
    Show(WordArgs),
}

/// Does what the words say.
///
/// # Errors
/// One line.
pub fn limits(args: &LimitsArgs) -> Result<(), Failure> {
    match &args.command {
        LimitsCommand::Show(args) => {
            nothing_more(&args.words).map_err(Failure::Usage)?;
            args.engine.ask(&Request::Limits)
        }
        LimitsCommand::Set(args) => {
            let request = read_limits(&args.words).map_err(Failure::Usage)?;
            args.engine.ask(&request)
        }
    }
}

fn read_limits(words: &[String]) -> Result<Request, String> {
    let (mut subflows, mut add_addr_accepted) = (None, None);
    let mut words = Words::new(words);
    while let Some(word) = words.next() {
        match word {
            // `ip mptcp` takes both.
            "subflow" | "subflows" => subflows = Some(words.value(word, "a number")?),
            "add_addr_accepted" => add_addr_accepted = Some(words.value(word, "a number")?),
            _ => {
                return Err(format!(
                    "{word}: expected subflows NUMBER or add_addr_accepted NUMBER"
                ));
            }
        }
    }
    if subflows.or(add_addr_accepted).is_none() {
        return Err("limits set: expected subflows NUMBER or add_addr_accepted NUMBER".to_owned());
    }
    Ok(Request::LimitsSet {
        subflows,
        add_addr_accepted,
    })
}

/// Open and close single subflows of a connection, past its policy.
#[derive(Args, Debug, Clone)]
#[command(after_help = "Example:\n  \
    anabranch subflow add token 5ec04d62 local 192.0.2.1 remote 203.0.113.9:443 backup\n\n\
    anabranch ss tells the id of a connection, anabranch monitor its token; either will do.")]
pub struct SubflowArgs {
    #[command(subcommand)]
    command: SubflowCommand,
}

#[derive(Subcommand, Debug, Clone)]
enum SubflowCommand {
    /// token TOKEN local ADDR[:PORT] remote ADDR:PORT [ backup ]
    Add(WordArgs),
    /// token TOKEN local ADDR:PORT remote ADDR:PORT
    #[command(alias = "delete")]
    Remove(WordArgs),
    /// token TOKEN local ADDR:PORT remote ADDR:PORT { backup | nobackup }
    Prio(WordArgs),
}

/// Does what the words say.
///
/// # Errors
/// One line.
pub fn subflow(args: &SubflowArgs) -> Result<(), Failure> {
    let (SubflowCommand::Add(words) | SubflowCommand::Remove(words) | SubflowCommand::Prio(words)) =
        &args.command;
    let read = SubflowWords::read(&words.words).map_err(Failure::Usage)?;
    let (connection, local, remote) = read.whole().map_err(Failure::Usage)?;
    let request = match (&args.command, read.backup) {
        (SubflowCommand::Add(_), backup) => Request::SubflowAdd {
            connection,
            local,
            remote,
            backup: backup == Some(true),
        },
        (SubflowCommand::Remove(_), _) => Request::SubflowRemove {
            connection,
            local,
            remote,
        },
        (SubflowCommand::Prio(_), Some(backup)) => Request::SubflowPrio {
            connection,
            local,
            remote,
            backup,
        },
        (SubflowCommand::Prio(_), None) => {
            return Err(Failure::Usage(
                "subflow prio: expected backup or nobackup".into(),
            ));
        }
    };
    words.engine.ask(&request)
}

/// Tell what happens to connections and their paths, until interrupted: as `ip mptcp monitor`.
#[derive(Args, Debug, Clone)]
pub struct MonitorArgs {
    #[command(flatten)]
    engine: EngineArgs,
}

/// Prints what happens.
///
/// # Errors
/// One line; also when the engine ends.
pub fn monitor(args: &MonitorArgs) -> Result<(), Failure> {
    let EngineArgs { json, .. } = args.engine;
    ask(&args.engine.socket(), &Request::Monitor, json, true)
}

/// Have a running engine read the file again that says what is wanted of paths, or tell what
/// another file would do.
///
/// Connections stay: subflows that are not wanted any more end in order, others are opened.
#[derive(Args, Debug, Clone)]
pub struct ReloadArgs {
    /// Change nothing: print what FILE would do with the connections there are now
    #[arg(long, value_name = "FILE")]
    pub dry_run: Option<PathBuf>,
    #[command(flatten)]
    engine: EngineArgs,
}

/// Does it.
///
/// # Errors
/// One line.
pub fn reload(args: &ReloadArgs) -> Result<(), Failure> {
    let Some(file) = &args.dry_run else {
        return args.engine.ask(&Request::Reload);
    };
    // What is wrong is told with the file's name.
    super::load(file).map_err(Failure::Failed)?;
    let text = std::fs::read_to_string(file);
    let text = text.map_err(|error| Failure::Failed(format!("{}: {error}", file.display())))?;
    args.engine.ask(&Request::Preview { text })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn endpoints_are_read_and_written_in_the_words_of_ip() {
        for text in [
            "192.0.2.1 id 3 subflow backup dev eth0",
            "192.0.2.1 port 8080 id 7 signal",
            "2001:db8::1 id 0 laminar",
        ] {
            let endpoint = read_endpoint(&words(text)).unwrap();
            assert_eq!(endpoint.to_string(), text);
        }
        for (text, wrong) in [
            ("", "endpoint add: expected ADDR"),
            ("eth0", "endpoint add eth0: expected ADDR"),
            ("192.0.2.1 port", "port: expected 1 to 65535"),
            ("192.0.2.1 port http", "port http: expected 1 to 65535"),
            ("192.0.2.1 id 256", "id 256: expected a number"),
            ("192.0.2.1 sub", "sub: expected ADDR"),
        ] {
            let told = read_endpoint(&words(text)).unwrap_err();
            assert!(told.starts_with(wrong), "{told}");
        }
    }

    #[test]
    fn changes_and_limits_are_read() {
        let request = read_change(&words("id 3 nobackup fullmesh")).unwrap();
        let expected = Request::EndpointChange {
            id: 3,
            address: None,
            set: vec!["fullmesh".into()],
            clear: vec!["backup".into()],
        };
        assert_eq!(request, expected);
        assert!(read_change(&words("192.0.2.1 backup")).is_ok());
        assert!(read_change(&words("backup")).is_err());
        assert_eq!(
            read_limits(&words("subflows 4 add_addr_accepted 2")).unwrap(),
            Request::LimitsSet {
                subflows: Some(4),
                add_addr_accepted: Some(2)
            }
        );
        assert!(read_limits(&[]).is_err());
    }

    #[test]
    fn subflows_are_named_by_both_ends() {
        let text = words("token 5ec04d62 local 192.0.2.1 remote 203.0.113.9:443 backup");
        let read = SubflowWords::read(&text).unwrap();
        assert_eq!(read.backup, Some(true));
        let (connection, local, remote) = read.whole().unwrap();
        assert_eq!(connection, "5ec04d62");
        assert_eq!((local.port(), remote.port()), (0, 443));
        for text in [
            "token 1 local x",
            "token 1 local 192.0.2.1 remote 192.0.2.2",
            "id 1",
        ] {
            assert!(SubflowWords::read(&words(text)).is_err(), "{text}");
        }
    }
}
