//! A Host that is accepted is read as the `http` crate reads it, and has one normal form however it is spelt.
#![no_main]

use std::net::Ipv6Addr;

use http::uri::Authority;
use libfuzzer_sys::fuzz_target;
use wxgate::http1::host::{authority, normalize};

fuzz_target!(|text: &str| {
    let Some((host, port)) = authority(text) else { return };
    let read: Authority = text.parse().unwrap_or_else(|e| panic!("{text:?} is accepted here alone: {e}"));
    assert!(!text.contains('@'), "user information in {text:?}");
    assert_eq!(read.port_u16(), port, "{text:?}");
    match read.host().strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => {
            let address: Ipv6Addr = address.parse().expect("brackets hold an address");
            assert_eq!(address.to_canonical().to_string(), host, "{text:?}");
        }
        None => {
            let name = read.host().strip_suffix('.').unwrap_or(read.host());
            assert!(name.eq_ignore_ascii_case(&host), "{text:?} became {host:?}");
        }
    }
    assert!(
        !host.is_empty() && !host.ends_with('.') && !host.bytes().any(|b| b.is_ascii_uppercase()),
        "{host:?}"
    );
    // The normal form is its own, and no spelling that differs by case or by one dot has another.
    assert_eq!(normalize(&host).as_deref(), Some(&*host), "{text:?}");
    assert_eq!(normalize(&host.to_ascii_uppercase()).as_deref(), Some(&*host), "{text:?}");
    if !host.contains(':') {
        assert_eq!(normalize(&format!("{host}.")).as_deref(), Some(&*host), "{text:?}");
    }
});
