//! Counters, named after the kernel's MIB where it has one.

use anabranch_wire::mptcp::{Capable, Dss, Join, MptcpOption};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// A counter. Names that begin with `Ip`, `Icmp`, `Tcp`, `TcpExt` and `MPTcpExt` mean
        /// what they mean in Linux's `nstat`.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Counter { $($(#[$doc])* $name),* }

        impl Counter {
            /// All of them, in order of display.
            pub const ALL: &[Counter] = &[$(Counter::$name),*];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self { $(Counter::$name => stringify!($name)),* }
            }
        }
    };
}

counters! {
    /// Packets received.
    IpInReceives,
    /// Packets that are no well-formed IP.
    IpInHdrErrors,
    /// Packets to addresses that are not ours, or from addresses that no host has.
    IpInAddrErrors,
    /// Packets of protocols we do not speak.
    IpInUnknownProtos,
    /// ICMP messages received.
    IcmpInMsgs,
    /// ICMP messages that are malformed or concern no connection of ours.
    IcmpInErrors,
    /// ICMP destination unreachable received.
    IcmpInDestUnreachs,
    /// ICMP echo requests received.
    IcmpInEchos,
    /// ICMP echo replies sent.
    IcmpOutEchoReps,
    /// Connections opened by us.
    TcpActiveOpens,
    /// Connections opened by peers.
    TcpPassiveOpens,
    /// Connections that failed during the handshake.
    TcpAttemptFails,
    /// Established connections that were reset.
    TcpEstabResets,
    /// Segments received; a merged one counts as many as it was on the wire.
    TcpInSegs,
    /// Segments sent, as many as they are on the wire.
    TcpOutSegs,
    /// Segments retransmitted.
    TcpRetransSegs,
    /// Segments with malformed headers.
    TcpInErrs,
    /// Resets sent.
    TcpOutRsts,
    /// Segments with a wrong checksum.
    TcpInCsumErrors,
    /// ICMP errors about segments of a connection that are not in flight: not believed.
    TcpExtOutOfWindowIcmps,
    /// SYNs dropped because the accept queue was full.
    TcpExtListenOverflows,
    /// SYNs to a listener dropped for whatever reason.
    TcpExtListenDrops,
    /// SYNs dropped because too many connections were half-open.
    TcpExtTCPReqQFullDrop,
    /// SYNs answered by a cookie because too many connections were half-open.
    TcpExtTCPReqQFullDoCookies,
    /// SYN cookies sent.
    TcpExtSyncookiesSent,
    /// Connections made from a SYN cookie that came back.
    TcpExtSyncookiesRecv,
    /// Segments of no connection that brought no SYN cookie of ours, or an old one, while some were
    /// out.
    TcpExtSyncookiesFailed,
    /// Connections opened by us whose SYN's payload was taken (Fast Open).
    TcpExtTCPFastOpenActive,
    /// Those where it was not.
    TcpExtTCPFastOpenActiveFail,
    /// Connections opened by peers whose SYN's payload was taken.
    TcpExtTCPFastOpenPassive,
    /// SYNs with a Fast Open cookie that is not ours, or too old.
    TcpExtTCPFastOpenPassiveFail,
    /// SYNs with a good cookie whose payload was not taken because too many such connections were
    /// half-open.
    TcpExtTCPFastOpenListenOverflow,
    /// SYNs that asked for a Fast Open cookie.
    TcpExtTCPFastOpenCookieReqd,
    /// Fast Open not tried for a while because only a SYN without it was answered.
    TcpExtTCPFastOpenBlackhole,
    /// SYNs dropped because memory or the number of connections was at its limit.
    TcpExtTCPBacklogDrop,
    /// Segments with payload dropped because memory was at its limit.
    TcpExtTCPRcvQDrop,
    /// Connections that went through TIME-WAIT.
    TcpExtTW,
    /// TIME-WAIT ended early by a new SYN (RFC 6191).
    TcpExtTWRecycled,
    /// TIME-WAIT ended early because too many were remembered.
    TcpExtTCPTimeWaitOverflow,
    /// MP_CAPABLE SYNs received by listeners.
    MPTcpExtMPCapableSYNRX,
    /// MP_CAPABLE SYNs sent.
    MPTcpExtMPCapableSYNTX,
    /// MP_CAPABLE left out because SYNs with it were not answered, and the one without was.
    MPTcpExtMPCapableSYNTXDrop,
    /// MP_CAPABLE not offered because earlier SYNs with it vanished on the way to that host.
    MPTcpExtMPCapableSYNTXDisabled,
    /// MP_CAPABLE SYN+ACKs received.
    MPTcpExtMPCapableSYNACKRX,
    /// MP_CAPABLE third ACKs received.
    MPTcpExtMPCapableACKRX,
    /// Accepted MP_CAPABLE, but the third ACK did not confirm: fallback.
    MPTcpExtMPCapableFallbackACK,
    /// Offered MP_CAPABLE, but the SYN+ACK did not confirm: fallback.
    MPTcpExtMPCapableFallbackSYNACK,
    /// SYNs with MP_CAPABLE were not answered, one without was.
    MPTcpExtBlackhole,
    /// No unused token was found: the connection is plain TCP.
    MPTcpExtMPFallbackTokenInit,
    /// Joins with a token that no connection has.
    MPTcpExtMPJoinNoTokenFound,
    /// MP_JOIN SYNs received.
    MPTcpExtMPJoinSynRx,
    /// MP_JOIN SYNs received with the backup flag.
    MPTcpExtMPJoinSynBackupRx,
    /// MP_JOIN SYNs sent.
    MPTcpExtMPJoinSynTx,
    /// MP_JOIN SYN+ACKs received.
    MPTcpExtMPJoinSynAckRx,
    /// MP_JOIN SYN+ACKs with a wrong HMAC.
    MPTcpExtMPJoinSynAckHMacFailure,
    /// MP_JOIN third ACKs received.
    MPTcpExtMPJoinAckRx,
    /// MP_JOIN third ACKs with a wrong HMAC.
    MPTcpExtMPJoinAckHMacFailure,
    /// Joins refused although the token was known.
    MPTcpExtMPJoinRejected,
    /// Infinite mappings sent.
    MPTcpExtInfiniteMapTx,
    /// Infinite mappings received.
    MPTcpExtInfiniteMapRx,
    /// ADD_ADDR received.
    MPTcpExtAddAddr,
    /// ADD_ADDR sent.
    MPTcpExtAddAddrTx,
    /// ADD_ADDR echoes received.
    MPTcpExtEchoAdd,
    /// ADD_ADDR echoes sent.
    MPTcpExtEchoAddTx,
    /// ADD_ADDR with a port received.
    MPTcpExtPortAdd,
    /// REMOVE_ADDR received.
    MPTcpExtRmAddr,
    /// REMOVE_ADDR sent.
    MPTcpExtRmAddrTx,
    /// MP_PRIO received.
    MPTcpExtMPPrioRx,
    /// MP_PRIO sent.
    MPTcpExtMPPrioTx,
    /// MP_FAIL received.
    MPTcpExtMPFailRx,
    /// MP_FAIL sent.
    MPTcpExtMPFailTx,
    /// MP_FASTCLOSE received.
    MPTcpExtMPFastcloseRx,
    /// MP_FASTCLOSE sent.
    MPTcpExtMPFastcloseTx,
    /// MP_TCPRST received.
    MPTcpExtMPRstRx,
    /// MP_TCPRST sent.
    MPTcpExtMPRstTx,
    /// Replies to strangers (resets, ICMP) not sent because of the rate limit.
    RepliesSuppressed,
    /// Packets given to another stack of this host.
    StraysSent,
    /// Packets that another stack of this host gave.
    StraysReceived,
    /// Packets for another stack of this host that had no room for them.
    StraysDropped,
    /// Segments that could not be written as packets: a mistake of ours.
    TransmitErrors,
    /// Calls into Multipath TCP code: none happens for a plain TCP connection.
    MptcpCalls,
    /// Connections looked at for transmission or for a timer: idle ones are not.
    FlowsVisited,
    /// Idle connections put to rest.
    FlowsRested,
}

/// The values of all counters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Counters([u64; Counter::ALL.len()]);

impl Counters {
    /// The value of one.
    pub fn get(&self, counter: Counter) -> u64 {
        self.0[counter as usize]
    }

    /// Names and values, in order of display.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Counter::ALL.iter().map(|&c| (c.name(), self.get(c)))
    }

    pub(crate) fn add(&mut self, counter: Counter, n: u64) {
        let value = &mut self.0[counter as usize];
        *value = value.wrapping_add(n);
    }

    pub(crate) fn inc(&mut self, counter: Counter) {
        self.add(counter, 1);
    }

    /// One more connection in TIME-WAIT, for which so many others were forgotten.
    pub(crate) fn count_past(&mut self, forgotten: u64) {
        self.inc(Counter::TcpExtTW);
        self.add(Counter::TcpExtTCPTimeWaitOverflow, forgotten);
    }
}

/// Multipath TCP options of established connections; those of SYNs are counted where they lead.
impl Counters {
    /// Options that arrived.
    pub(crate) fn received(&mut self, options: &[MptcpOption]) {
        for option in options {
            let counter = match option {
                MptcpOption::Capable(Capable::SynAck { .. }) => Counter::MPTcpExtMPCapableSYNACKRX,
                MptcpOption::Capable(Capable::Ack { data: None, .. }) => {
                    Counter::MPTcpExtMPCapableACKRX
                }
                MptcpOption::Capable(_) | MptcpOption::Join(Join::Syn { .. }) => continue,
                MptcpOption::Join(Join::SynAck { .. }) => Counter::MPTcpExtMPJoinSynAckRx,
                MptcpOption::Join(Join::Ack { .. }) => Counter::MPTcpExtMPJoinAckRx,
                MptcpOption::Dss(dss) if is_infinite(dss) => Counter::MPTcpExtInfiniteMapRx,
                MptcpOption::Dss(_) => continue,
                MptcpOption::AddAddr(address) if address.echo => Counter::MPTcpExtEchoAdd,
                MptcpOption::AddAddr(address) => {
                    if address.port.is_some() {
                        self.inc(Counter::MPTcpExtPortAdd);
                    }
                    Counter::MPTcpExtAddAddr
                }
                MptcpOption::RemoveAddr(_) => Counter::MPTcpExtRmAddr,
                MptcpOption::Prio(_) => Counter::MPTcpExtMPPrioRx,
                MptcpOption::Fail(_) => Counter::MPTcpExtMPFailRx,
                MptcpOption::FastClose(_) => Counter::MPTcpExtMPFastcloseRx,
                MptcpOption::TcpRst(_) => Counter::MPTcpExtMPRstRx,
            };
            self.inc(counter);
        }
    }

    /// Options that were sent.
    pub(crate) fn sent(&mut self, options: &[MptcpOption]) {
        for option in options {
            let counter = match option {
                MptcpOption::Capable(Capable::Syn { .. }) => Counter::MPTcpExtMPCapableSYNTX,
                MptcpOption::Capable(_) => continue,
                MptcpOption::Join(Join::Syn { .. }) => Counter::MPTcpExtMPJoinSynTx,
                MptcpOption::Join(_) => continue,
                MptcpOption::Dss(dss) if is_infinite(dss) => Counter::MPTcpExtInfiniteMapTx,
                MptcpOption::Dss(_) => continue,
                MptcpOption::AddAddr(address) if address.echo => Counter::MPTcpExtEchoAddTx,
                MptcpOption::AddAddr(_) => Counter::MPTcpExtAddAddrTx,
                MptcpOption::RemoveAddr(_) => Counter::MPTcpExtRmAddrTx,
                MptcpOption::Prio(_) => Counter::MPTcpExtMPPrioTx,
                MptcpOption::Fail(_) => Counter::MPTcpExtMPFailTx,
                MptcpOption::FastClose(_) => Counter::MPTcpExtMPFastcloseTx,
                MptcpOption::TcpRst(_) => Counter::MPTcpExtMPRstTx,
            };
            self.inc(counter);
        }
    }
}

fn is_infinite(dss: &Dss) -> bool {
    dss.mapping.is_some_and(|mapping| mapping.len == 0)
}

impl Default for Counters {
    fn default() -> Self {
        Counters([0; Counter::ALL.len()])
    }
}
