//! ADD_ADDR and REMOVE_ADDR.

use crate::connection::{At, Connection};
use crate::keys::{self, Version};
use crate::option;
use crate::report::{Address, Kind, Verdict};

/// Addresses kept of a connection.
const ADDRESSES_MAX: usize = 256;

impl Connection {
    pub(crate) fn add_addr(&mut self, at: At, add: &option::Address) {
        let port = add
            .port
            .map_or(String::new(), |port| format!(" port {port}"));
        let what = if add.echo {
            "ADD_ADDR echo"
        } else {
            "ADD_ADDR"
        };
        self.log
            .signal(at, format!("{what} {}: {}{port}", add.id, add.addr));
        if add.echo {
            return self.echo(at, add);
        }
        let hmac = self.judge_address(at, add);
        let same = |a: &&mut Address| {
            a.from == at.from && a.id == add.id && a.addr == add.addr && a.port == add.port
        };
        if let Some(known) = self.addresses.iter_mut().find(same) {
            known.times += 1;
            known.removed = false;
        } else if self.addresses.len() < ADDRESSES_MAX {
            self.addresses.push(Address {
                from: at.from,
                id: add.id,
                addr: add.addr,
                port: add.port,
                times: 1,
                hmac,
                echoed: false,
                removed: false,
            });
        }
    }

    fn judge_address(&mut self, at: At, add: &option::Address) -> Verdict {
        let key = |end: crate::report::End| self.hosts[end as usize].key;
        let keys = key(at.from).zip(key(at.from.other()));
        let (Some(keys), Some(hmac), Some(Version::V1)) = (keys, add.hmac, self.version) else {
            return Verdict::Unknown;
        };
        if keys::add_addr_hmac(keys, add.id, add.addr, add.port) == hmac {
            return Verdict::Right;
        }
        let text = format!("the HMAC of ADD_ADDR {} is wrong", add.id);
        self.log.wrong(at, Kind::WrongAddAddrHmac, text);
        Verdict::Wrong
    }

    fn echo(&mut self, at: At, echo: &option::Address) {
        let same = |a: &&mut Address| {
            a.from != at.from && a.id == echo.id && a.addr == echo.addr && a.port == echo.port
        };
        match self.addresses.iter_mut().find(same) {
            Some(address) => address.echoed = true,
            None => {
                let text = format!("an echo of address {}, which nobody announced", echo.id);
                self.log.strange(at, Kind::EchoOfNothing, text);
            }
        }
    }

    pub(crate) fn remove_addr(&mut self, at: At, ids: &[u8]) {
        let list: Vec<String> = ids.iter().map(u8::to_string).collect();
        self.log
            .signal(at, format!("REMOVE_ADDR {}", list.join(", ")));
        let gone = |a: &&mut Address| a.from == at.from && ids.contains(&a.id);
        self.addresses
            .iter_mut()
            .filter(gone)
            .for_each(|a| a.removed = true);
    }
}
