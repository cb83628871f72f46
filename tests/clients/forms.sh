#!/bin/sh
# curl's ways to upload.
#     forms.sh BASE_URL PICTURE
# Prints a line for each call, with the status and what wxgate says in a header of its own.
set -eu

base=$1
picture=$2
openid=oSandboxFollower000000000001
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

call() {
    what=$1
    shift
    curl --silent --show-error --globoff --noproxy '*' --max-time 30 --dump-header "$folder/head" --output "$folder/body" "$@"
    errcode=$(sed -n 's/.*"errcode":\(-\{0,1\}[0-9]*\).*/\1/p' "$folder/body" | head -n 1)
    own=$(grep -i '^x-wxgate' "$folder/head" | tr -d '\r' || true)
    echo "$what: ${errcode:-0}${own:+ $own}"
}

upload="$base/cgi-bin/media/upload?access_token=STALE&type=image"
message='{"touser":"'$openid'","msgtype":"text","text":{"content":"您好"}}'
printf '%s' "$message" >"$folder/message"

call 'a form' -F "media=@$picture;type=image/jpeg;filename=a.jpg" "$upload"
call 'a form with a text' -F "media=@$picture;filename=a.jpg" -F 'description={"title":"标题","introduction":"x"}' \
    "$base/cgi-bin/material/add_material?type=image"
call 'a form without asking first' -H 'Expect:' -F "media=@$picture;filename=a.jpg" "$upload"
call 'a form over HTTP/1.0' --http1.0 -F "media=@$picture;filename=a.jpg" "$upload"
call 'a form over HTTP/2' --http2-prior-knowledge -F "media=@$picture;filename=a.jpg" "$upload"
call 'a form in chunks' -H 'Transfer-Encoding: chunked' -F "media=@$picture;filename=a.jpg" "$upload"
call 'a form from a pipe' -F "media=@-;filename=a.jpg" "$upload" <"$picture"
call 'a body as it is' --data-binary "@$folder/message" "$base/cgi-bin/message/custom/send"
call 'a body from a pipe' -X POST -T - "$base/cgi-bin/message/custom/send" <"$folder/message"
call 'a body of json' --json "@$folder/message" "$base/cgi-bin/message/custom/send"
call 'compressed' --compressed "$base/cgi-bin/user/get"
