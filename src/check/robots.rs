//! The robots of `[[alert]]`: sends each a test message where that was asked for.

use super::Report;
use crate::alert::{Robot, Sender};
use crate::config::Config;
use crate::upstream::tls::Trust;

/// Says how many robots there are; with `test`, whether each takes a message.
pub(super) async fn look(config: &Config, trust: &Trust, test: bool, report: &mut Report<'_>) {
    let robots = &config.alerts;
    match (robots.len(), test) {
        (0, false) => return,
        (0, true) => {
            return report.warning(format_args!("alerts: there is no [[alert]] to send a message to"));
        }
        (count, false) => {
            let robots = if count == 1 { "robot" } else { "robots" };
            return report
                .ok(format_args!("alerts: {count} {robots} (`wxgate check --alerts` sends a test message)"));
        }
        (_, true) => {}
    }
    let (egress, proxy) = (config.upstream.egress_ip, config.upstream.proxy.clone());
    let sender = Sender { trust: trust.clone(), egress, proxy };
    for (index, robot) in robots.iter().enumerate() {
        let service = robot.service.as_str();
        match sender.test(robot).await {
            Ok(()) => report.ok(format_args!("alert[{index}]: the {service} robot took a test message")),
            Err(error) => report.wrong(format_args!(
                "alert[{index}]: {error}; is its `url` the webhook that the service shows, {}is `wxgate` among the robot's \
                 keywords if it has any, and this machine's address among its allowed ones?",
                signature(robot)
            )),
        }
    }
}

/// What to ask about a robot's signature.
fn signature(robot: &Robot) -> &'static str {
    match (&robot.secret, robot.service.can_sign()) {
        (Some(_), _) => "`secret` what its security settings show, this machine's clock right, ",
        (None, true) => "does it demand a signature (加签, 签名校验; then set `secret`), ",
        (None, false) => "",
    }
}
