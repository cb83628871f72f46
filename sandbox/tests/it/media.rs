//! Uploads and downloads.

use super::{Fixture, assert_refused, get, sandbox, send};
use crate::https::{Response, request};

impl Fixture {
    async fn upload(&self, kind: &str, part_headers: &str, file: &[u8]) -> Response {
        let target = format!("/cgi-bin/media/upload?access_token={}&type={kind}", self.token().await);
        send(self.addr, &multipart(&target, part_headers, file)).await
    }
}

fn multipart(target: &str, part_headers: &str, file: &[u8]) -> Vec<u8> {
    let body = [b"--xx\r\n", part_headers.as_bytes(), b"\r\n\r\n", file, b"\r\n--xx--\r\n"].concat();
    request("POST", target, &["Content-Type: multipart/form-data; boundary=xx"], &body)
}

const JPEG: &str =
    "Content-Disposition: form-data; name=\"media\"; filename=\"a.jpg\"\r\nContent-Type: image/jpeg";

#[tokio::test]
async fn an_uploaded_picture_comes_back_byte_for_byte_as_a_download() {
    let it = sandbox().await;
    let file: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
    let uploaded = it.upload("image", JPEG, &file).await.json();
    assert_eq!(uploaded["type"], "image");
    let id = uploaded["media_id"].as_str().unwrap();
    let token = it.token().await;
    let target = format!("/cgi-bin/media/get?access_token={token}&media_id={id}");
    let got = send(it.addr, &request("GET", &target, &["Accept-Encoding: gzip"], b"")).await;
    assert_eq!(got.body, file);
    assert_eq!(got.header("Content-Type"), Some("image/jpeg"));
    let disposition = format!("attachment; filename=\"{id}.jpg\"");
    assert_eq!(got.header("Content-disposition"), Some(&*disposition), "{:?}", got.headers);
    assert_eq!(got.header("Connection"), Some("close"));
    assert_eq!(got.header("Content-Length"), Some("200000"));
    assert_eq!(got.header("Content-Encoding"), None, "media is never compressed");
}

#[tokio::test]
async fn a_video_comes_as_a_link_in_plain_text() {
    let it = sandbox().await;
    let uploaded = it.upload("video", JPEG, b"video").await.json();
    let query = format!("media_id={}", uploaded["media_id"].as_str().unwrap());
    let got = it.get("/cgi-bin/media/get", &query).await;
    assert_eq!(got.header("Content-Type"), Some("text/plain"));
    assert!(got.json()["video_url"].is_string());
}

#[tokio::test]
async fn errors_of_media_interfaces_are_plain_text() {
    let it = sandbox().await;
    let unknown = it.get("/cgi-bin/media/get", "media_id=x").await;
    assert_refused(&unknown, 40007, "invalid media_id");
    let no_token = get(it.addr, "/cgi-bin/media/get?media_id=x").await;
    assert_refused(&no_token, 41001, "access_token missing");
    for response in [unknown, no_token] {
        assert_eq!(response.header("Content-Type"), Some("text/plain"));
        assert_eq!(response.header("Content-Disposition"), None);
    }
}

#[tokio::test]
async fn an_upload_without_a_proper_file_is_missing_its_data() {
    let it = sandbox().await;
    let text = "media data missing";
    let part = |rest: &str| format!("Content-Disposition: form-data; {rest}");
    assert_refused(&it.upload("image", &part("name=\"media\""), b"x").await, 41005, text);
    assert_refused(&it.upload("image", &part("name=\"file\"; filename=\"a.jpg\""), b"x").await, 41005, text);
    assert_refused(
        &it.upload("image", &part("name=\"media\"; filename=\"图.jpg\""), b"x").await,
        41005,
        text,
    );
    assert_refused(&it.post("/cgi-bin/media/upload", "{}").await, 40004, "invalid media type");
    assert_refused(&it.upload("image", JPEG, b"").await, 44001, "empty media data");
}

#[tokio::test]
async fn each_type_of_media_has_its_size() {
    let it = sandbox().await;
    for (kind, size, code) in
        [("thumb", 64 << 10, 40012), ("voice", 2 << 20, 40010), ("image", 10 << 20, 40009)]
    {
        let file = vec![b'x'; size + 1];
        assert_eq!(it.upload(kind, JPEG, &file[..size]).await.errcode(), 0, "{kind}");
        assert_eq!(it.upload(kind, JPEG, &file).await.errcode(), code, "{kind}");
    }
    assert_eq!(it.upload("video", JPEG, &vec![b'x'; 25 << 20]).await.errcode(), 40011, "not kept at all");
}

#[tokio::test]
async fn material_has_an_id_and_a_link() {
    let it = sandbox().await;
    let target = format!("/cgi-bin/material/add_material?access_token={}&type=image", it.token().await);
    let answer = send(it.addr, &multipart(&target, JPEG, b"x")).await.json();
    assert!(answer["media_id"].is_string() && answer["url"].is_string(), "{answer}");
}
