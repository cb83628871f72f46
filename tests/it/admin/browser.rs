//! The page in a real headless Chromium: what it shows, what it does, and that its policy lets it.

use serde_json::{Value, json};

use super::support::{KEY, addr, get, json as json_of, post, ready, with};
use crate::support::browser::Browser;
use crate::support::fake::{Fake, Reply};
use crate::support::gate::{APPID, Gate, SECRET, Settings, https_listener};
use crate::support::wechat::WeChat;

const CALLER_KEY: &str = "cms-key-that-no-page-may-show";

/// How a page lies on its screen. The window of a phone is as wide as what is in it, its document's is the screen's.
const MEASURED: &str = "const screen = document.documentElement.clientWidth; return {
    lang: document.documentElement.lang,
    wide: document.documentElement.scrollWidth - screen,
    ground: getComputedStyle(document.documentElement).backgroundColor,
    out: [...document.querySelectorAll('main *')]
        .filter((e) => e.checkVisibility() && !e.closest('svg, pre'))
        .filter((e) => e.getBoundingClientRect().right > screen + 1)
        .map((e) => e.outerHTML.slice(0, 200)),
}";

const AWAY_ICON: &str = "return document.querySelector('#away').dataset.icon";

/// Two accounts, the second of which is refused, and a caller with a key.
async fn busy(wechat: &WeChat) -> Gate {
    crate::support::gate::note_credential(CALLER_KEY);
    let tables = format!(
        "[[account]]\nname = \"shop\"\nappid = \"wxshop\"\nsecret = \"not-the-right-one\"\nprefix = \"/shop\"\n\
         [[caller]]\nname = \"legacy-cms\"\nfrom = [\"127.0.0.1\"]\nkey = \"{CALLER_KEY}\"\n"
    );
    let gate = with(&wechat.url, "", Settings { tables, ..Settings::default() }).await;
    ready(&gate).await;
    gate
}

async fn call(gate: &Gate, target: &str) {
    let key = format!("X-Wxgate-Key: {CALLER_KEY}");
    gate.send(&crate::support::https::request("GET", target, &[&key], b"")).await;
}

async fn text(browser: &Browser, selector: &str) -> String {
    let found = browser.run(&format!("return document.querySelector({selector:?})?.textContent")).await;
    found.as_str().unwrap_or_else(|| panic!("nothing is {selector}")).to_owned()
}

/// The page holds no token, secret or key, wherever it would stand.
async fn nothing_secret(browser: &Browser, wechat: &WeChat) {
    let page = browser.run("return document.documentElement.outerHTML").await;
    let page = page.as_str().unwrap();
    for secret in wechat.handle.tokens_issued().iter().map(String::as_str).chain([SECRET, KEY, CALLER_KEY]) {
        assert!(!page.contains(secret));
    }
}

#[tokio::test]
async fn the_page_shows_what_status_says_and_its_buttons_work() {
    let wechat = WeChat::start().await;
    let gate = busy(&wechat).await;
    for _ in 0..3 {
        call(&gate, "/cgi-bin/user/get").await;
    }
    let browser = Browser::start().await;
    let url = format!("http://{}/?lang=en", addr(&gate));
    browser.open(&url).await;

    let status = json_of(&get(&gate, "/status").await);
    assert_eq!(status["accounts"].as_array().unwrap().len(), 2);
    for account in status["accounts"].as_array().unwrap() {
        let name = account["name"].as_str().unwrap();
        let article = format!("#account-{name}");
        let state = browser.run(&format!("return document.querySelector('{article}').dataset.state")).await;
        assert_eq!(state, account["state"], "{name}");
        let shown = text(&browser, &article).await;
        assert!(shown.contains(account["appid"].as_str().unwrap()), "{shown}");
        if account["state"] == "fresh" {
            assert!(shown.contains("generation 1") && shown.contains("1 h 59 min"), "{shown}");
            let script = format!(
                "return Date.parse(document.querySelector('{article} [data-ends]').dataset.ends) - Date.now()"
            );
            let left = browser.run(&script).await.as_f64().unwrap() / 1000.0;
            assert!((left - account["expires_in_seconds"].as_f64().unwrap()).abs() < 5.0, "{left}");
        }
    }
    assert!(text(&browser, "title").await.contains("1 of 2 accounts cannot serve calls"));
    assert!(text(&browser, "#account-shop").await.contains("40013"));

    // A refresh by click, and the page learns of it without being loaded again.
    browser.run("window.sameDocument = true").await;
    browser.click("#account-main [data-refresh]").await;
    browser.until("document.querySelector('#account-main').textContent.includes('generation 2')").await;
    assert!(text(&browser, "#account-main [role=status]").await.contains("The token has been renewed."));
    assert_eq!(json_of(&get(&gate, "/status").await)["accounts"][0]["generation"], 2);

    // A call by the console.
    browser.fill("[name=path]", "/cgi-bin/user/info").await;
    browser.fill("[name=query]", "openid=nobody").await;
    browser.click("#call [type=submit]").await;
    browser.until("!document.querySelector('#answer').hidden").await;
    assert!(text(&browser, "#answer-head").await.starts_with("HTTP 200 · errcode 40003 · "));
    assert!(text(&browser, "#answer-explain").await.contains(APPID));
    assert!(text(&browser, "#answer-body").await.contains("invalid openid"));
    let curl = text(&browser, "#curl").await;
    assert_eq!(
        curl,
        format!(
            "curl 'http://{}/cgi-bin/user/info?openid=nobody' \\\n  -H \"X-Wxgate-Key: $WXGATE_KEY\"",
            gate.addr
        )
    );
    // It stands in the list of failed calls, by itself.
    browser.until("document.querySelector('.calls-list')?.textContent.includes('/cgi-bin/user/info')").await;
    assert_eq!(browser.run("return window.sameDocument").await, true);
    browser.click("a[hreflang=zh-CN]").await;
    browser.until("document.documentElement.lang === 'zh-CN'").await;
    assert!(text(&browser, "#call [type=submit]").await.contains("发送"));
    nothing_secret(&browser, &wechat).await;
    assert_eq!(browser.complaints().await, [""; 0]);
}

#[tokio::test]
async fn it_is_set_well_in_both_languages_and_schemes_and_on_a_narrow_screen() {
    let wechat = WeChat::start().await;
    let gate = busy(&wechat).await;
    for n in 0..40 {
        call(&gate, if n % 8 == 0 { "/cgi-bin/user/info?openid=nobody" } else { "/cgi-bin/user/get" }).await;
    }
    call(&gate, "/elsewhere/with-a-very-long-name-that-has-no-place-to-break-it-anywhere-at-all").await;
    let refused = Fake::scripted(
        |_| Reply::json(r#"{"errcode":40164,"errmsg":"invalid ip 203.0.113.7 ipv6 ::ffff:203.0.113.7, not in whitelist <script>alert(1)</script> rid: 6510fcad-3d8ae261-25861ec2"}"#),
        |_| Reply::json("{}"),
    )
    .await;
    let failing = with(&refused.url(), "", Settings::default()).await;
    crate::support::until::until_async("it is refused", async || {
        get(&failing, "/readyz").await.text().contains("40164")
    })
    .await;
    let long = "y".repeat(57);
    let tables = format!(
        "[[account]]\nname = \"{long}\"\nappid = \"wx{long}\"\nsecret = \"wrong\"\nprefix = \"/{long}\"\n\
         [[caller]]\nname = \"caller-{long}\"\nfrom = [\"127.0.0.1\"]\n"
    );
    let unbroken = with(&wechat.url, "", Settings { tables, ..Settings::default() }).await;
    ready(&unbroken).await;
    for path in
        ["/cgi-bin/user/info?openid=nobody".to_owned(), format!("/{long}/cgi-bin/{}", "p".repeat(400))]
    {
        unbroken.get(&path).await;
    }
    let browser = Browser::start().await;
    let mut grounds = Vec::new();
    for (name, gate) in [("busy", &gate), ("failing", &failing), ("unbroken", &unbroken)] {
        for lang in ["en", "zh"] {
            browser.open(&format!("http://{}/?lang={lang}", addr(gate))).await;
            browser.until("document.querySelector('#pulse').textContent").await;
            nothing_secret(&browser, &wechat).await;
            for (scheme, width) in [("light", 1280), ("light", 360), ("dark", 360), ("dark", 1280)] {
                let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
                browser.tools("Emulation.setEmulatedMedia", media).await;
                let size =
                    json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500});
                browser.tools("Emulation.setDeviceMetricsOverride", size).await;
                let told = browser.run(MEASURED).await;
                let at = format!("{name} {lang} {scheme} {width}: {told}");
                assert_eq!(told["lang"], if lang == "zh" { "zh-CN" } else { "en" }, "{at}");
                assert!(told["wide"].as_i64().unwrap() <= 0 && told["out"] == json!([]), "{at}");
                grounds.push((scheme, told["ground"].clone()));
                browser.picture(&format!("{name}-{lang}-{scheme}-{width}")).await;
            }
        }
    }
    let of = |scheme: &str| -> Vec<&Value> {
        grounds.iter().filter(|(known, _)| *known == scheme).map(|(_, ground)| ground).collect()
    };
    assert!(of("light").iter().all(|light| of("dark").iter().all(|dark| light != dark)), "{grounds:?}");
    assert_eq!(browser.complaints().await, [""; 0]);
}

#[tokio::test]
async fn heading_title_and_icon_say_that_wxgate_cannot_be_reached() {
    for (lang, words) in [("en", "wxgate cannot be reached"), ("zh", "无法连接到 wxgate")] {
        let wechat = WeChat::start().await;
        let gate = with(&wechat.url, "", Settings::default()).await;
        ready(&gate).await;
        let browser = Browser::start().await;
        browser.open(&format!("http://{}/?lang={lang}", addr(&gate))).await;
        let icon = "document.querySelector('link[rel=icon]').href";
        assert_ne!(browser.run(&format!("return {icon}")).await, browser.run(AWAY_ICON).await);
        gate.stop();
        browser.until("document.querySelector('#pulse.lost[role=status]')").await;
        assert_eq!(text(&browser, "#summary h1").await, words);
        assert_eq!(browser.run("return document.title").await, format!("✕ {words} – wxgate"));
        assert_eq!(browser.run(&format!("return {icon}")).await, browser.run(AWAY_ICON).await);
        assert_eq!(browser.run("return document.querySelector('#summary').dataset.level").await, "bad");
    }
}

#[tokio::test]
async fn the_console_follows_a_reload_and_keeps_what_was_chosen_and_typed() {
    let wechat = WeChat::start().await;
    let account = |name: &str| {
        format!(
            "[[account]]\nname = \"{name}\"\nappid = \"wx{name}\"\nsecret = \"of-{name}\"\nprefix = \"/{name}\"\n"
        )
    };
    let tables = |names: &[&str], more: &str| Settings {
        tables: names.iter().map(|name| account(name)).collect::<String>() + more,
        ..Settings::default()
    };
    let gate = with(&wechat.url, "", tables(&["shop"], "")).await;
    let browser = Browser::start().await;
    browser.open(&format!("http://{}/?lang=en", addr(&gate))).await;
    let choose = "document.querySelector('#call [name=account]')";
    browser.run(&format!("{choose}.value = 'shop'")).await;
    browser.fill("[name=path]", "/cgi-bin/typed").await;
    let chosen = format!("return {choose}.value");
    let reload = async |names: &[&str]| {
        let more = "[admin]\nlisten = \"127.0.0.1:0\"\n\
                    [[caller]]\nname = \"crm\"\nkey = \"caller-key-of-crm\"\n";
        gate.reload(&wechat.url, &tables(names, more)).await;
        let has = format!("{choose}.options.length === {}", names.len() + 1);
        browser.until(&has).await;
    };
    assert_eq!(browser.run("return document.querySelector('#curl-key').hidden").await, true);
    // One more, and callers need a key.
    reload(&["new", "shop"]).await;
    assert_eq!(browser.run(&chosen).await, "shop");
    let curl = text(&browser, "#curl").await;
    assert!(curl.contains("/shop/cgi-bin/typed") && curl.contains("$WXGATE_KEY"), "{curl}");
    assert_eq!(browser.run("return document.querySelector('#curl-key').hidden").await, false);
    // The chosen one goes: nothing is sent as another.
    reload(&["new", "renamed", "third"]).await;
    assert_eq!((browser.run(&chosen).await, text(&browser, "#curl").await), (json!(""), String::new()));
    browser.click("#call [type=submit]").await;
    assert_eq!(text(&browser, "#call-state").await, "");
    assert_eq!(browser.run("return document.querySelector('[name=path]').value").await, "/cgi-bin/typed");
}

#[tokio::test]
async fn what_came_of_a_refresh_stays_until_the_next() {
    let wechat = WeChat::start().await;
    let gate = busy(&wechat).await;
    let browser = Browser::start().await;
    browser.open(&format!("http://{}/?lang=en", addr(&gate))).await;
    for name in ["shop", "main"] {
        browser.click(&format!("#account-{name} [data-refresh]")).await;
        browser.until(&format!("document.querySelector('#account-{name} [role=status]')?.textContent")).await;
    }
    let failed = text(&browser, "#account-shop [role=status]").await;
    assert!(failed.contains("That did not work: ") && failed.contains("40013"), "{failed}");
    let worked = text(&browser, "#account-main [role=status]").await;
    assert!(worked.contains("The token has been renewed."), "{worked}");
    // A later look puts other parts in place.
    assert_eq!(post(&gate, "/accounts/main/refresh", "").await.status, 200);
    browser.until("document.querySelector('#account-main').textContent.includes('generation 3')").await;
    assert_eq!(text(&browser, "#account-main [role=status]").await, worked);
    assert_eq!(text(&browser, "#account-shop [role=status]").await, failed);
    // The next refresh has the next result.
    browser.run("window.old = document.querySelector('#account-main [role=status]')").await;
    browser.click("#account-main [data-refresh]").await;
    browser.until("document.querySelector('#account-main [role=status]') && !window.old.isConnected").await;
    let notes = browser.run("return document.querySelectorAll('#account-main [role=status]').length").await;
    assert_eq!(notes, 1);
}

#[tokio::test]
async fn the_copied_curl_does_what_send_does() {
    let wechat = WeChat::start().await;
    let top = "listen = [\"0.0.0.0:0\"]\nopen_to_everyone = true".to_owned();
    let gate = with(&wechat.url, "", Settings { top, ..Settings::default() }).await;
    let browser = Browser::start().await;
    browser.open(&format!("http://localhost:{}/?lang=en", addr(&gate).port())).await;
    browser.fill("[name=path]", "/cgi-bin/user/info").await;
    browser.fill("[name=query]", "list=[1]&x={a,b}").await;
    let curl = text(&browser, "#curl").await;
    let url = format!("http://localhost:{}/cgi-bin/user/info?list=[1]&x={{a,b}}", gate.addr.port());
    assert_eq!(curl, format!("curl -g '{url}'"));
    let settings = Settings {
        top: "listen = []".to_owned(),
        tables: https_listener() + &format!("client_ca = \"{}/certs/ca.pem\"\n", env!("CARGO_MANIFEST_DIR")),
        ..Settings::default()
    };
    let gate = with(&wechat.url, "", settings).await;
    browser.open(&format!("http://{}/?lang=en", addr(&gate))).await;
    let curl = text(&browser, "#curl").await;
    let url = format!("https://{}/cgi-bin/getcallbackip", gate.addr);
    assert_eq!(curl, format!("curl '{url}' \\\n  --cert client.pem --key client.key"));
}

#[tokio::test]
async fn a_page_opened_with_its_key_in_the_address_works_and_shows_it_nowhere() {
    let wechat = WeChat::start().await;
    let gate = with(&wechat.url, &format!("key = \"{KEY}\""), Settings::default()).await;
    let browser = Browser::start().await;
    browser.open(&format!("http://ops:{KEY}@{}/?lang=en", addr(&gate))).await;
    browser.until("document.querySelector('#account-main').textContent.includes('generation 1')").await;
    browser.click("#account-main [data-refresh]").await;
    browser.until("document.querySelector('#account-main').textContent.includes('generation 2')").await;
    assert!(text(&browser, "#account-main [role=status]").await.contains("The token has been renewed."));
    browser.click("#call [type=submit]").await;
    browser.until("!document.querySelector('#answer').hidden").await;
    assert!(text(&browser, "#answer-head").await.starts_with("HTTP 200 · "));
    // Nor does it where nobody answers.
    gate.stop();
    browser.click("#call [type=submit]").await;
    browser.until("document.querySelector('#call-state').textContent.startsWith('That did not work')").await;
    assert_eq!(text(&browser, "#call-state").await, "That did not work: wxgate did not answer.");
    nothing_secret(&browser, &wechat).await;
}
