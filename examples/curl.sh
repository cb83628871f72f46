#!/bin/sh
# Calls as WeChat's documentation writes them, but without a token: wxgate puts it in.
#     examples/curl.sh http://127.0.0.1:8080
# prints the answers, one a line, and fails with the first call that fails.
set -eu

base=${1:?usage: curl.sh BASE_URL}
openid=${OPENID:-oSandboxFollower000000000001} # one that the sandbox has

# --globoff: curl takes { and [ in a URL for patterns. --fail: an error of wxgate's own ends the script.
call() { curl --silent --show-error --fail --globoff --max-time 30 --write-out '\n' "$@"; }

# Who follows the account, and who is the first of them?
call "$base/cgi-bin/user/get"
call "$base/cgi-bin/user/info?openid=$openid&lang=zh_CN"

# The same with the token that some tool insists on sending: whatever it is, the right one takes its place.
call "$base/cgi-bin/user/info?access_token=ACCESS_TOKEN&openid=$openid&lang=zh_CN"

# A menu, and what came of it.
call -d '{"button":[{"type":"click","name":"今日歌曲","key":"V1001_TODAY_MUSIC"}]}' "$base/cgi-bin/menu/create"
call --compressed "$base/cgi-bin/menu/get"

# A message to a follower. WeChat refuses \uXXXX: Chinese goes out as it is.
call -d '{"touser":"'"$openid"'","msgtype":"text","text":{"content":"您好"}}' "$base/cgi-bin/message/custom/send"

# A picture: up, and down again.
picture=$(mktemp)
trap 'rm -f "$picture" "$picture.back"' EXIT
printf 'not really a picture' >"$picture"
media=$(call -F "media=@$picture;filename=picture.jpg;type=image/jpeg" "$base/cgi-bin/media/upload?type=image")
echo "$media"
media_id=$(echo "$media" | sed 's/.*"media_id":"\([^"]*\)".*/\1/')
call --output "$picture.back" "$base/cgi-bin/media/get?media_id=$media_id"
cmp "$picture" "$picture.back" && echo 'the picture came back as it went'

# A QR code that never ends.
call -d '{"action_name":"QR_LIMIT_STR_SCENE","action_info":{"scene":{"scene_str":"shop"}}}' "$base/cgi-bin/qrcode/create"
