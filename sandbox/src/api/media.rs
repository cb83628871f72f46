//! Uploads and downloads: sizes by type, and how media differs from errors on the wire.

use http::StatusCode;
use serde_json::{Value, json};

use super::Outcome;
use crate::answer::{Answer, TEXT};
use crate::call::Call;
use crate::errors::{Refusal, refuse};
use crate::media::Stored;
use crate::upload;
use crate::world::World;

/// A type of media: name, most bytes, the error of a longer one, and the MIME type of one that names none.
/// Sizes are those of WeChat's page on temporary media.
type Kind = (&'static str, usize, i64, &'static str);

const KINDS: [Kind; 4] = [
    ("image", 10 << 20, 40009, "image/jpeg"),
    ("voice", 2 << 20, 40010, "audio/amr"),
    ("video", 10 << 20, 40011, "video/mp4"),
    ("thumb", 64 << 10, 40012, "image/jpeg"),
];
/// `uploadimg` takes pictures for articles only.
const ARTICLE_IMAGE: Kind = ("image", 1 << 20, 40009, "image/jpeg");

/// `POST /cgi-bin/media/upload?type=…`, multipart, field `media`.
pub(super) fn upload(world: &mut World, account: usize, call: &Call) -> Outcome {
    let (kind, id) = stored(world, account, call)?;
    // A thumb's id has a name of its own (WeChat's page on media/upload).
    let name = if kind == "thumb" { "thumb_media_id" } else { "media_id" };
    let mut body = json!({ "type": kind, "created_at": world.now.as_secs() });
    body[name] = json!(id);
    Ok(Answer::json(&body))
}

/// What an upload is, and the id under which it is kept now.
pub(super) fn stored(
    world: &mut World,
    account: usize,
    call: &Call,
) -> Result<(&'static str, String), Refusal> {
    let kind = kind(call)?;
    Ok((kind.0, store(world, account, kind, call)?))
}

/// `POST /cgi-bin/media/uploadimg`: only a link comes back.
pub(super) fn upload_image(world: &mut World, account: usize, call: &Call) -> Outcome {
    let id = store(world, account, ARTICLE_IMAGE, call)?;
    Ok(Answer::json(&json!({ "url": link(&id) })))
}

/// `POST /cgi-bin/material/add_material?type=…`: the same as `upload`, kept for ever as far as a sandbox can.
pub(super) fn add_material(world: &mut World, account: usize, call: &Call) -> Outcome {
    let kind = kind(call)?;
    let id = store(world, account, kind, call)?;
    let mut body = json!({ "media_id": id });
    if kind.0 == "image" {
        body["url"] = json!(link(&id));
    }
    Ok(Answer::json(&body))
}

/// `GET /cgi-bin/media/get?media_id=…`: the bytes; for a video a link as JSON in `text/plain`.
pub(super) fn get(world: &mut World, account: usize, call: &Call) -> Outcome {
    let id = call.parameter("media_id").filter(|id| !id.is_empty()).ok_or_else(|| refuse(41006))?;
    let stored = world.media.get(account, id).ok_or_else(|| refuse(40007))?;
    if stored.kind == "video" {
        let body: Value = json!({ "video_url": link(id) });
        return Ok(Answer::of(StatusCode::OK, TEXT, body.to_string()));
    }
    let extension = match stored.mime.as_str() {
        "image/png" => "png",
        "image/gif" => "gif",
        "image/bmp" => "bmp",
        "audio/amr" => "amr",
        mime if mime.starts_with("audio/") => "mp3",
        _ => "jpg",
    };
    Ok(Answer::media(stored.mime.clone(), stored.bytes.clone(), format!("{id}.{extension}")))
}

fn kind(call: &Call) -> Result<Kind, Refusal> {
    let name = call.parameter("type").unwrap_or_default();
    KINDS.into_iter().find(|kind| kind.0 == name).ok_or_else(|| refuse(40004))
}

fn store(
    world: &mut World,
    account: usize,
    (kind, most, too_long, usual): Kind,
    call: &Call,
) -> Result<String, Refusal> {
    let file =
        upload::media(call)?.filter(|file| file.bytes.len() <= most).ok_or_else(|| refuse(too_long))?;
    let fits = |mime: &String| {
        let family = mime.split('/').next();
        family == usual.split('/').next() && http::HeaderValue::try_from(mime).is_ok()
    };
    let mime = file.mime.filter(fits).unwrap_or_else(|| usual.to_owned());
    Ok(world.media.put(Stored { account, kind, mime, bytes: file.bytes }))
}

fn link(id: &str) -> String {
    format!("http://mmbiz.qpic.cn/sandbox/{id}")
}
