//! Known answers of both versions, computed by an independent program from captures of kernels.

use anabranch_mptcp::keys::{JoinSecret, Version, add_addr_hmac, derive};
use serde_json::Value;
use std::net::IpAddr;
use std::path::PathBuf;

/// The vectors, or `None` with the reason printed; continuous integration must have them.
fn vectors() -> Option<Vec<Value>> {
    let shared = std::env::var_os("ANABRANCH_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        PathBuf::from,
    );
    let path = shared.join("vectors.json");
    match std::fs::read(&path) {
        Ok(text) => Some(serde_json::from_slice(&text).expect("vectors.json is JSON")),
        Err(e) => {
            let ci = std::env::var("CI").is_ok_and(|v| v == "true");
            assert!(!ci, "{}: {e}", path.display());
            println!("skipped: {}: {e}", path.display());
            None
        }
    }
}

fn hex(v: &Value, field: &str) -> u64 {
    let text = v[field].as_str().expect("a hexadecimal string");
    u64::from_str_radix(text, 16).expect("hexadecimal")
}

fn bytes(v: &Value, field: &str) -> Vec<u8> {
    let text = v[field].as_str().expect("a hexadecimal string");
    let pairs = (0..text.len()).step_by(2);
    pairs
        .map(|i| u8::from_str_radix(&text[i..i + 2], 16).expect("hexadecimal"))
        .collect()
}

fn version(v: &Value) -> Version {
    match v["version"].as_u64() {
        Some(0) => Version::V0,
        Some(1) => Version::V1,
        other => panic!("version {other:?}"),
    }
}

fn secret(v: &Value) -> JoinSecret {
    JoinSecret {
        version: version(v),
        sender_key: hex(v, "key_sender"),
        receiver_key: hex(v, "key_receiver"),
        sender_nonce: hex(v, "nonce_sender") as u32,
        receiver_nonce: hex(v, "nonce_receiver") as u32,
    }
}

/// Address ID, address and port as the HMAC of ADD_ADDR sees them.
fn announced(message: &[u8]) -> (u8, IpAddr, Option<u16>) {
    let (id, rest) = message.split_first().expect("an address ID");
    let (addr, port) = rest.split_at(rest.len() - 2);
    let addr = match <[u8; 4]>::try_from(addr) {
        Ok(v4) => IpAddr::from(v4),
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(addr).expect("an IPv6 address")),
    };
    let port = u16::from_be_bytes([port[0], port[1]]);
    (*id, addr, (port != 0).then_some(port))
}

#[test]
fn every_vector_is_answered() {
    let Some(vectors) = vectors() else { return };
    assert_eq!(vectors.len(), 88);
    for v in &vectors {
        match v["kind"].as_str() {
            Some("keys") => {
                for side in ["client", "server"] {
                    let got = derive(version(v), hex(v, &format!("{side}_key")));
                    assert_eq!(
                        u64::from(got.token),
                        hex(v, &format!("{side}_token")),
                        "{v}"
                    );
                    assert_eq!(got.idsn, hex(v, &format!("{side}_idsn")), "{v}");
                }
            }
            Some("join_synack") => {
                assert_eq!(secret(v).truncated(), hex(v, "trunc_hmac"), "{v}");
            }
            Some("join_ack") => assert_eq!(secret(v).full().to_vec(), bytes(v, "hmac160"), "{v}"),
            Some("add_addr") => {
                let (id, addr, port) = announced(&bytes(v, "msg"));
                let got =
                    add_addr_hmac(hex(v, "key_sender"), hex(v, "key_receiver"), id, addr, port);
                assert_eq!(got, hex(v, "trunc_hmac"), "{v}");
            }
            other => panic!("unknown kind {other:?}"),
        }
    }
}
