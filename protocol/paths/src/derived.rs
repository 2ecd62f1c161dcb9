//! What a policy comes to in the terms of endpoints, for an engine that has those alone: Linux's
//! path manager inside the kernel.

use crate::host::Host;
use crate::plan::Rule;
use crate::{Endpoint, Flags, Kind, MAX_ADDRESSES, Policy, Source};

/// A policy that endpoints cannot say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotExpressible;

impl std::fmt::Display for NotExpressible {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("endpoints cannot say ndiffports: it takes a path manager outside the kernel")
    }
}

impl std::error::Error for NotExpressible {}

impl Host {
    /// The endpoints that say what `policy` and `rules` want of this host as it is now: those
    /// configured whose address is there, and one for each further address by the kind of policy.
    /// Thresholds, delays and attempts are beyond them.
    ///
    /// # Errors
    /// [`NotExpressible`].
    pub fn endpoints(
        &self,
        policy: &Policy,
        rules: &[Rule],
    ) -> Result<Vec<Endpoint>, NotExpressible> {
        let sources = self.sources_for(policy, rules, None);
        let is_here = |e: &&Endpoint| e.external || sources.iter().any(|s| s.addr.ip() == e.addr);
        let configured = policy.endpoints.iter().filter(is_here);
        let mut all: Vec<Endpoint> = configured.cloned().collect();
        for (place, source) in sources.iter().enumerate() {
            let flags = match policy.kind {
                Kind::Endpoints => continue,
                Kind::NDiffPorts(_) => return Err(NotExpressible),
                Kind::OneEach => Flags::SUBFLOW,
                Kind::FullMesh => Flags::SUBFLOW | Flags::FULLMESH,
                Kind::OnePerInterface if is_second(&sources[..place], source) => continue,
                Kind::OnePerInterface => Flags::SUBFLOW,
                Kind::Handover(_) if place > 0 => Flags::SUBFLOW | Flags::BACKUP,
                Kind::Handover(_) => Flags::SUBFLOW,
                Kind::Server => Flags::SIGNAL,
            };
            let known = |e: &Endpoint| e.addr == source.addr.ip() || e.id == source.id;
            if all.iter().any(known) || all.len() >= MAX_ADDRESSES {
                continue;
            }
            let dev = self.link(source.link).map(|link| link.name.clone());
            all.push(Endpoint {
                id: source.id,
                dev,
                ..Endpoint::new(
                    source.addr.ip(),
                    flags.with(Flags::BACKUP, source.backup || flags.has(Flags::BACKUP)),
                )
            });
        }
        Ok(all)
    }
}

/// Its interface has an address of the family already.
fn is_second(before: &[Source], source: &Source) -> bool {
    let same = |s: &Source| {
        s.link == source.link && s.link != 0 && s.addr.is_ipv4() == source.addr.is_ipv4()
    };
    before.iter().any(same)
}
