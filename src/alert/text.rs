//! What a message says, in Chinese and English, and the form that each service wants it in. Pure.

use serde_json::{Value, json};

use super::decide::{Message, Problem};
use super::{Cause, Robot, Service};
use crate::mask::masked;
use crate::text::beginning;

/// Problems that one message spells out; of more it says how many.
const MOST: usize = 10;

/// The longest message in bytes: WeCom takes 2,048.
const LONGEST: usize = 2000;

/// What a test of the robots says.
pub(super) const TEST: &str =
    "wxgate：这是一条测试消息，告警机器人可以使用。\nwxgate: this is a test; the robot works.";

/// The words of a message. It begins with `wxgate`, which can be the keyword that DingTalk and Feishu ask for.
pub(super) fn words(message: &Message) -> String {
    let mut text = match message {
        Message::Wrong(cause, problems) => {
            let [zh, en] = headline(*cause);
            let mut text = format!("wxgate 告警：{zh}\n");
            list(&mut text, problems, 0, "另有", "个");
            text += &format!("\nwxgate alert: {en}\n");
            list(&mut text, problems, 1, "and", "more");
            text
        }
        Message::WellAgain(cause, names) => {
            let [zh, en] = headline(*cause);
            let (names, more) = (names.iter().take(MOST), names.len().saturating_sub(MOST));
            let names = names.map(|name| &**name).collect::<Vec<_>>().join(", ");
            let more = if more > 0 { format!(" (+{more})") } else { String::new() };
            format!("wxgate 已恢复：{zh}（{names}{more}）\nwxgate, well again: {en} ({names}{more})")
        }
    };
    if text.len() > LONGEST {
        text.truncate(beginning(&text, LONGEST).len());
        text.push('…');
    }
    text.trim_end().to_owned()
}

fn list(text: &mut String, problems: &[Problem], language: usize, and: &str, more: &str) {
    for problem in problems.iter().take(MOST) {
        *text += &format!("- {}: {}\n", problem.of, problem.words[language]);
    }
    if problems.len() > MOST {
        *text += &format!("- {and} {} {more}\n", problems.len() - MOST);
    }
}

fn headline(cause: Cause) -> [&'static str; 2] {
    match cause {
        Cause::Refused => ["微信拒绝发放凭据", "WeChat refuses to issue a token"],
        Cause::Expires => ["凭据即将到期或已到期，未能取得新凭据", "a token ends, and there is no new one"],
        Cause::OtherFetcher => ["有其他系统在获取凭据", "something else fetches tokens"],
        Cause::Store => ["存储不可用", "the store is away"],
    }
}

/// The body of the request that has a robot say this.
pub(super) fn body(service: Service, text: &str) -> Value {
    match service {
        Service::Wecom | Service::Dingtalk => json!({ "msgtype": "text", "text": { "content": text } }),
        Service::Feishu => json!({ "msg_type": "text", "content": { "text": text } }),
    }
}

/// Whether an answer says that the message was taken.
///
/// # Errors
/// What the service says otherwise, without the robot's key and secret, which it may repeat.
pub(super) fn taken(robot: &Robot, answer: &[u8]) -> Result<(), String> {
    let service = robot.service;
    let [code, words] = match service {
        Service::Wecom | Service::Dingtalk => ["errcode", "errmsg"],
        Service::Feishu => ["code", "msg"],
    };
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    match answer[code].as_i64() {
        Some(0) => Ok(()),
        Some(number) => {
            let said = answer[words].as_str().unwrap_or_default().to_owned();
            // Before it is cut, for a part of a key is too much.
            let said = robot.secrets().fold(said, |said, secret| {
                let hidden = masked(said.as_bytes(), secret.as_bytes(), b"***");
                hidden.map_or(said, |hidden| String::from_utf8_lossy(&hidden).into_owned())
            });
            let said: String = said.chars().take(200).collect();
            Err(format!(
                "{} refuses the message: {number} {}",
                service.as_str(),
                said.replace(char::is_control, " ")
            ))
        }
        None => Err(format!("{} does not answer as its robots do", service.as_str())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn problem(of: &str) -> Problem {
        let words = ["40125 密钥不对".to_owned(), "40125 the secret is wrong".to_owned()];
        Problem { cause: Cause::Refused, of: of.into(), words }
    }

    #[test]
    fn a_message_has_both_languages_and_each_problem() {
        let text = words(&Message::Wrong(Cause::Refused, vec![problem("main")]));
        assert_eq!(
            text,
            "wxgate 告警：微信拒绝发放凭据\n- main: 40125 密钥不对\n\n\
             wxgate alert: WeChat refuses to issue a token\n- main: 40125 the secret is wrong"
        );
        let text = words(&Message::WellAgain(Cause::Store, vec!["file".into()]));
        assert_eq!(text, "wxgate 已恢复：存储不可用（file）\nwxgate, well again: the store is away (file)");
        let many: Vec<_> = (0..100).map(|n| problem(&format!("account-{n}"))).collect();
        let text = words(&Message::Wrong(Cause::Refused, many));
        assert!(
            text.len() < 2048 && text.contains("- 另有 90 个") && text.contains("- and 90 more"),
            "{text}"
        );
        let mut long = problem("main");
        long.words[0] = "票".repeat(3000);
        assert!(words(&Message::Wrong(Cause::Refused, vec![long])).len() < 2048);
    }

    fn robot(service: Service, url: &str) -> Robot {
        let (url, secret) = (Secret::new(url.to_owned()), Some(Secret::new("S3C/ret".to_owned())));
        Robot { service, url, secret, on: Vec::new() }
    }

    #[test]
    fn each_service_has_its_form() {
        for (service, right, good, bad, said) in [
            (
                Service::Wecom,
                r#"{"msgtype":"text","text":{"content":"words"}}"#,
                r#"{"errcode":0,"errmsg":"ok"}"#,
                r#"{"errcode":93000,"errmsg":"invalid webhook url"}"#,
                "wecom refuses the message: 93000 invalid webhook url",
            ),
            (
                Service::Dingtalk,
                r#"{"msgtype":"text","text":{"content":"words"}}"#,
                r#"{"errcode":0,"errmsg":"ok"}"#,
                r#"{"errcode":310000,"errmsg":"keywords not in content"}"#,
                "dingtalk refuses the message: 310000 keywords not in content",
            ),
            (
                Service::Feishu,
                r#"{"content":{"text":"words"},"msg_type":"text"}"#,
                r#"{"StatusCode":0,"StatusMessage":"success","code":0,"data":{},"msg":"success"}"#,
                r#"{"code":19024,"msg":"Key Words Not Found"}"#,
                "feishu refuses the message: 19024 Key Words Not Found",
            ),
        ] {
            assert_eq!(body(service, "words").to_string(), right);
            let robot = robot(service, "https://host/hook/k3y");
            assert_eq!(taken(&robot, good.as_bytes()), Ok(()));
            assert_eq!(taken(&robot, bad.as_bytes()), Err(said.to_owned()));
            assert!(taken(&robot, b"<html>").is_err() && taken(&robot, b"{}").is_err());
        }
    }

    #[test]
    fn what_a_robot_says_never_holds_its_key_or_secret() {
        for (service, url, said, right) in [
            (
                Service::Wecom,
                "https://h/webhook/send?key=r0b0t-k3y",
                "send?key=r0b0t-k3y is gone",
                "send?key=*** is gone",
            ),
            (
                Service::Dingtalk,
                "https://h/robot/send?access_token=r0b0t%2Fk3y",
                "no r0b0t/k3y or %5C S3C/ret",
                "no *** or %5C ***",
            ),
            (
                Service::Feishu,
                "https://h/bot/v2/hook/r0b0t-k3y",
                "r0b0t-k3y, S3C/ret, S3C%2Fret",
                "***, ***, ***",
            ),
        ] {
            let answer = json!({ "errcode": 1, "errmsg": said, "code": 1, "msg": said }).to_string();
            let said = taken(&robot(service, url), answer.as_bytes()).unwrap_err();
            assert_eq!(said, format!("{} refuses the message: 1 {right}", service.as_str()));
            // Neither does what is cut in the middle of one.
            let long = format!("{}S3C/ret", "x".repeat(195));
            let answer = json!({ "errcode": 1, "errmsg": long, "code": 1, "msg": long }).to_string();
            let said = taken(&robot(service, url), answer.as_bytes()).unwrap_err();
            assert!(!said.contains("S3C"), "{said}");
        }
    }
}
