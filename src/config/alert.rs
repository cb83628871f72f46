//! Reads `[[alert]]`: group robots that are told when something needs a person.
//!
//! A robot's URL holds its key, so no message shows any of it, nor of the secret that messages are signed with.

use super::table::Table;
use super::{keys, secret};
use crate::alert::{Cause, Robot, Service};

/// Why a WeCom robot has no secret.
const NO_SIGNATURE: &str = "WeCom's robots know no signature, the key in their `url` is all; want `secret` with dingtalk or feishu alone";

/// All robots; what is wrong is in the report, and then the list is not to be used.
pub(super) fn read_all(top: &Table<'_>) -> Vec<Robot> {
    let Some(value) = top.tables("alert") else { return Vec::new() };
    let Some(tables) = value.elements() else {
        value.wrong_kind::<()>("[[alert]] with double brackets");
        return Vec::new();
    };
    let tables = tables.iter().filter_map(|value| value.table(keys::section("alert")));
    tables.filter_map(read_one).collect()
}

fn read_one(mut table: Table<'_>) -> Option<Robot> {
    let service = table.required("kind", |value| {
        value.one_of(&[Service::Wecom, Service::Dingtalk, Service::Feishu].map(|one| (one.as_str(), one)))
    });
    let url = table.required("url", |value| {
        let url = secret::read(value, secret::ROBOT_URL)?;
        // Without a kind nobody knows which host would be right.
        let fits = service.is_none_or(|service| leads_to(service, url.expose()));
        if fits { Some(url) } else { value.secret().say(wanted(service)) }
    });
    let secret = match service {
        Some(service) if !service.can_sign() => {
            table.unwanted("secret", NO_SIGNATURE);
            None
        }
        _ => table.optional("secret", |value| secret::read(value, secret::ROBOT_SECRET)),
    };
    let on = table.key("on", |value| {
        let on =
            value.list("an array of causes", |v| v.one_of(&Cause::ALL.map(|one| (one.as_str(), one))))?;
        match on.is_empty() {
            true => value
                .wrong_as("an empty array", "at least one cause: this robot would never be told anything"),
            false => Some(on),
        }
    });
    table.finish();
    Some(Robot { service: service?, url: url?, secret, on })
}

/// Whether a URL is one of the service's own, over TLS and at its usual port.
fn leads_to(service: Service, url: &str) -> bool {
    service.hosts().iter().any(|host| {
        let path = url.strip_prefix("https://").and_then(|rest| rest.strip_prefix(host));
        path.is_some_and(|path| path.len() > 1 && path.starts_with('/') && !path.contains(['#', '\\']))
    })
}

fn wanted(service: Option<Service>) -> String {
    let hosts = service.map(Service::hosts).unwrap_or_default();
    let hosts: Vec<String> = hosts.iter().map(|host| format!("https://{host}/…")).collect();
    format!(
        "the URL is not one of the service's own; want the webhook that it shows for the robot, {}",
        hosts.join(" or ")
    )
}
