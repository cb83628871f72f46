//! What this machine has to offer: addresses, ports, open files. Sends nothing to anybody.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use super::Report;
use crate::config::Config;
use crate::process::{files_allowed, files_needed};

/// Whether the addresses for callers can be had.
pub(super) fn listeners(config: &Config, running: Option<bool>, report: &mut Report<'_>) {
    for address in config.addresses() {
        listener(address, running, report);
    }
}

fn listener(address: SocketAddr, running: Option<bool>, report: &mut Report<'_>) {
    match TcpListener::bind(address) {
        Ok(_) if address.port() == 0 => {
            report.ok(format_args!("listen {address}: the system will choose a port"));
        }
        Ok(_) => report.ok(format_args!("listen {address}: free")),
        Err(e) => match e.kind() {
            io::ErrorKind::AddrInUse if running == Some(true) => report.ok(format_args!(
                "listen {address}: in use, as it should be while wxgate runs (it has locked the state directory)"
            )),
            io::ErrorKind::AddrInUse if running.is_none() => report.warning(format_args!(
                "listen {address}: in use, by a wxgate that runs, or by another program: with a shared store no lock \
                 tells (`ss -ltnp` names it)"
            )),
            io::ErrorKind::AddrInUse => report.warning(format_args!(
                "listen {address}: in use, and no wxgate has locked the state directory: another program seems to have \
                 the port (`ss -ltnp` names it); stop that, or set another `listen`"
            )),
            io::ErrorKind::AddrNotAvailable => report.wrong(format_args!(
                "listen {address}: not an address of this machine (`ip addr` shows them); correct `listen`"
            )),
            io::ErrorKind::PermissionDenied => report.wrong(format_args!(
                "listen {address}: this user may not have that port; take one from 1024 on, or give wxgate \
                 CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=)"
            )),
            _ => report.wrong(format_args!("listen {address}: {e}")),
        },
    }
}

/// Whether connections can leave from `egress_ip`.
pub(super) fn egress(config: &Config, report: &mut Report<'_>) {
    let Some(ip) = config.upstream.egress_ip else { return };
    match UdpSocket::bind((ip, 0)) {
        Ok(_) => report.ok(format_args!("egress_ip {ip} is an address of this machine")),
        Err(e) if e.kind() == io::ErrorKind::AddrNotAvailable => report.wrong(format_args!(
            "egress_ip {ip} is not an address of this machine (`ip addr` shows them). Behind NAT it is the \
             machine's own address that belongs here, and the public one on WeChat's whitelist"
        )),
        Err(e) => report.wrong(format_args!("egress_ip {ip} cannot be used: {e}")),
    }
}

/// Whether the limit of open files leaves room for all the connections that are allowed.
pub(super) fn open_files(config: &Config, report: &mut Report<'_>) {
    let connections = config.connections();
    let needed = files_needed(connections);
    match files_allowed() {
        Some(limit) if limit < needed => report.warning(format_args!(
            "open files: {limit} are allowed here, and {connections} connections (limits.max_connections, and \
             upstream.max_connections for each API host) need {needed}; raise the limit for wxgate (systemd: \
             LimitNOFILE={needed}; shell: `ulimit -Hn`), or lower one of the two"
        )),
        Some(limit) => report.ok(format_args!(
            "open files: {limit} are allowed here, enough for {connections} connections"
        )),
        None => report.ok(format_args!("open files: no limit")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::said;
    use super::*;

    #[test]
    fn listen_addresses_are_free_taken_or_not_ours() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        for (running, kind) in [(Some(true), "ok      "), (Some(false), "warning "), (None, "warning ")] {
            let in_use = said(|report| listener(address, running, report));
            assert!(in_use.starts_with(&format!("{kind} listen {address}: in use, ")), "{in_use}");
        }
        let strange = said(|report| listener("192.0.2.1:8080".parse().unwrap(), Some(false), report));
        assert!(strange.starts_with("FAIL     listen 192.0.2.1:8080: not an address"), "{strange}");
        let any = said(|report| listener("127.0.0.1:0".parse().unwrap(), Some(false), report));
        assert!(any.starts_with("ok "), "{any}");
    }
}
