//! The keys of `[account.signing]`.

use super::Kind::{Certificates, Choice, List, Pem, Secret};
use super::{Header, Key, Section, Text, forms, key, required, unset, without};

pub(super) const SECTION: Section = Section {
    name: "account.signing",
    header: Header::Inner,
    text: Text {
        en: "WeChat's API security mode (服务端 API 签名与加密): wxgate encrypts and signs the calls of the `[[account]]` \
             above, checks and decrypts their answers. The console shows keys and numbers (小程序 → 开发管理 → 开发设置 → \
             API安全).",
        zh: "服务端 API 签名与加密：wxgate 为上面的 `[[account]]` 加密请求并签名，对响应验签并解密。密钥和编号见小程序后台“开发管理 → 开发设置 → API安全”。",
    },
    keys: KEYS,
};

const KEYS: &[Key] = &[
    key(
        "encryption",
        Choice(&["AES256_GCM"]),
        r#""AES256_GCM""#,
        "The algorithm of the API symmetric key (API对称密钥). SM4_GCM is not supported.",
        "API 对称密钥的算法。不支持 SM4_GCM。",
    ),
    required(
        "key_number",
        forms::KEY_NUMBER,
        r#""fa05fe1e5bcc79b81ad5ad4b58acf787""#,
        "The number of the symmetric key.",
        "对称密钥的编号。",
    ),
    required(
        "key",
        Secret,
        r#"{ file = "signing/aes.key" }"#,
        "The symmetric key: 32 bytes in base64, as the console shows it.",
        "对称密钥：后台显示的 base64 文本，解码后为 32 字节。",
    ),
    key(
        "signature",
        Choice(&["RSAwithSHA256"]),
        r#""RSAwithSHA256""#,
        "The algorithm of the API asymmetric key (API非对称密钥): RSA with PSS. SM2withSM3 is not supported.",
        "API 非对称密钥的算法：RSA，PSS 填充。不支持 SM2withSM3。",
    ),
    unset(
        "private_key_number",
        forms::KEY_NUMBER,
        without("not sent", "不发送"),
        "The number of the asymmetric key; sent in `Wechatmp-Serial`. WeChat's guide does not ask for it.",
        "非对称密钥的编号，通过 `Wechatmp-Serial` 发送。微信的文档没有要求。",
    )
    .such_as(r#""97845f6ed842ea860df6fdf65941ff56""#),
    required(
        "private_key",
        Pem,
        r#""signing/app.key""#,
        "PEM file of the app's RSA private key, PKCS#1 or PKCS#8, whose public half the console has.",
        "PEM 文件：应用的 RSA 私钥（PKCS#1 或 PKCS#8），对应的公钥已配置在后台。",
    ),
    required(
        "certificates",
        Certificates,
        r#"{ 79ba700ea147819f640941bceb38b1d1 = "signing/platform.pem" }"#,
        "WeChat's platform certificates (平台证书), each under the number that the console shows, which is not the serial \
         inside of it. Before one ends, add the next.",
        "微信的平台证书，键为后台显示的证书编号（不是证书内的序列号）。到期前请加入新证书。",
    ),
    unset(
        "paths",
        List(&forms::PATH_PATTERN),
        without(
            "the POST interfaces that WeChat documents for it, but for the three that answer with a picture; `wxgate config \
             print` lists them",
            "微信文档注明支持的 POST 接口，返回图片的三个除外；`wxgate config print` 会列出",
        ),
        "Which calls: POST with a JSON object or nothing as its body; one over 1 MiB is refused with 413. Others of these \
         paths are forwarded as they are, and so are calls that their caller has signed (with `Wechatmp-*` headers). An answer that is neither \
         signed nor an error is refused, so a path that WeChat does not encrypt must not be among them. The `paths` of the \
         account must cover them too.",
        "哪些调用：POST，请求体为 JSON 对象或为空；超过 1 MiB 的返回 413。这些路径的其他请求原样转发，调用方自己签过名的（带 `Wechatmp-*` 请求头）也一样。\
         既未签名又不是错误的响应会被拒绝，因此不要写入微信不支持加密的路径。账号的 `paths` 也要包含它们。",
    )
    .such_as(r#"["/wxa/getuserriskrank", "/wxa/business/*"]"#),
    key(
        "url",
        forms::API_URL,
        r#""https://api.weixin.qq.com""#,
        "What the signed URL begins with: the API's official name, whichever host is called.",
        "参与签名的 URL 的开头：接口的官方域名，与实际调用的主机无关。",
    ),
];
