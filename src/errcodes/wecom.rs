//! Errcodes that mean something else at WeCom, or exist there alone, in the order of their numbers.
//!
//! Sources: WeCom's list of return codes as SDKs repeat it (WxJava `WxCpErrorMsgEnum`), WeCom's own look-up texts.

use super::{Entry, row};

/// Sorted by number; what is not in here means the same as at official accounts.
pub(super) const TABLE: &[Entry] = &[
    row(
        40001,
        "The application's secret is wrong. (A dead token is 40014 or 42001 at WeCom.)",
        "Check the account's `secret`: it is not that of the application, or it was reset in WeCom's console.",
        "应用的 Secret 错误（企业微信的凭据失效是 40014 或 42001）。",
        "请检查该账号的 `secret`：它不是该应用的 Secret，或者已在企业微信管理后台被重置。",
    ),
    row(
        40013,
        "WeCom does not know this corpid.",
        "Check the account's `appid`, which is the corpid.",
        "企业微信不认识这个 corpid。",
        "请检查该账号的 `appid`，应填写企业 ID。",
    ),
    row(
        40014,
        "The access_token is not valid, or has ended.",
        "wxgate fetches a new token and sends the call again by itself, unless WeCom hands out the refused one again.",
        "接口调用凭据不合法或者已过期。",
        "wxgate 会自动获取凭据并重发一次；如果企业微信返回的仍是同一个凭据，则不再重发。",
    ),
    row(
        40082,
        "The suite_access_token is wrong.",
        "It belongs to a service provider; wxgate does not keep it.",
        "suite_access_token 无效。",
        "它属于服务商，wxgate 不管理这种凭据。",
    ),
    row(
        40084,
        "The permanent_code is wrong.",
        "Let the company authorize the suite again.",
        "permanent_code 无效。",
        "请让企业重新授权应用。",
    ),
    row(
        40085,
        "The suite_ticket is wrong.",
        "Use the last one that WeCom pushed.",
        "suite_ticket 无效。",
        "请使用企业微信最近一次推送的票据。",
    ),
    row(
        41002,
        "The corpid is missing.",
        "Check the account's `appid`, which is the corpid.",
        "缺少 corpid。",
        "请检查该账号的 `appid`，应填写企业 ID。",
    ),
    row(
        41004,
        "The application's secret is missing.",
        "Check the account's `secret`.",
        "缺少应用的 Secret。",
        "请检查该账号的 `secret`。",
    ),
    row(42007, "The pre_auth_code has ended.", "Get a new one.", "预授权码已过期。", "请重新获取。"),
    row(
        42009,
        "The suite_access_token has ended.",
        "It belongs to a service provider; wxgate does not keep it.",
        "suite_access_token 已过期。",
        "它属于服务商，wxgate 不管理这种凭据。",
    ),
    row(
        45009,
        "Too many calls of this interface.",
        "WeCom blocks for the rest of the minute, hour or day: slow down.",
        "接口调用超过频率限制。",
        "企业微信会按分钟、小时或自然日拦截，请降低频率。",
    ),
    row(
        45033,
        "Too many calls at the same time.",
        "Send fewer at once: see the caller's `concurrent`.",
        "接口并发调用超过限制。",
        "请减少并发：参阅调用方的 `concurrent`。",
    ),
    row(
        48002,
        "The application may not use this interface.",
        "See the application's rights in WeCom's console.",
        "该应用没有此接口的权限。",
        "请在企业微信管理后台查看应用权限。",
    ),
    row(
        60011,
        "The application may not see this member, department or tag.",
        "Widen the application's visible range in WeCom's console.",
        "该应用无权访问这个成员、部门或标签。",
        "请在企业微信管理后台扩大应用的可见范围。",
    ),
    row(
        60020,
        "WeCom does not accept the IP address that wxgate calls from.",
        "Put {ip} on the list of trusted IPs of the application (WeCom's console, 应用管理 → 企业可信 IP).",
        "wxgate 的出口 IP 不在企业可信 IP 中。",
        "请把 {ip} 加入该应用的“企业可信 IP”（企业微信管理后台“应用管理”）。",
    ),
    row(
        301_002,
        "The application may not act for this agentid.",
        "Send the agentid of the application that the secret belongs to.",
        "无权操作指定的应用（agentid）。",
        "请填写该 Secret 所属应用的 agentid。",
    ),
];
