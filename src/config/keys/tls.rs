//! The keys of `[tls]`.

use super::Kind::{OneOrMore, Pem};
use super::{Header, Key, Section, Text, forms, required, unset, without};

pub(super) const SECTION: Section = Section {
    name: "tls",
    header: Header::Optional,
    text: Text {
        en: "HTTPS for callers, HTTP/1.1 and HTTP/2.",
        zh: "供调用方使用的 HTTPS（HTTP/1.1 和 HTTP/2）。",
    },
    keys: KEYS,
};

const KEYS: &[Key] = &[
    required(
        "listen",
        OneOrMore(&forms::LISTEN),
        r#"["0.0.0.0:8443"]"#,
        "Addresses; port 0: the system chooses.",
        "监听地址；端口 0 由系统选择。",
    ),
    required(
        "cert",
        Pem,
        r#""certs/server.pem""#,
        "PEM file with the chain, the server's own certificate first.",
        "PEM 证书链，服务器自己的证书在最前。",
    ),
    required("key", Pem, r#""certs/server.key""#, "PEM file with the key.", "PEM 私钥文件。"),
    unset(
        "client_ca",
        Pem,
        without("callers need no certificate", "不要求调用方出示证书"),
        "PEM file; callers must then show a certificate signed by one of these.",
        "PEM 文件；设置后，调用方必须出示由其中之一签发的证书。",
    )
    .such_as(r#""certs/clients.pem""#),
];
