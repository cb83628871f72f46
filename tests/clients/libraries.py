"""Python's libraries: requests, httpx over HTTP/2, wechatpy.

    python libraries.py BASE_URL HTTPS_BASE_URL CA PICTURE

Prints a line for each call; a header of wxgate's own stands behind it.
"""

import ssl
import sys

import httpx
import requests
import wechatpy

BASE, HTTPS, CA, PICTURE = sys.argv[1:]
OPENID = "oSandboxFollower000000000001"
MESSAGE = '{"touser":"%s","msgtype":"text","text":{"content":"您好"}}' % OPENID
PARTS = 64


def told(what, response):
    own = [f"{name}: {value}" for name, value in response.headers.items() if name.lower().startswith("x-wxgate")]
    print(f"{what}:", response.json().get("errcode", 0), *own)
    return response.json()


def in_parts(picture):
    for at in range(0, len(picture), len(picture) // PARTS + 1):
        yield picture[at : at + len(picture) // PARTS + 1]


def with_requests(picture):
    session = requests.Session()
    told("requests", session.get(BASE + "/cgi-bin/user/get", params={"access_token": "STALE", "next_openid": ""}))
    told("requests, a message", session.post(BASE + "/cgi-bin/message/custom/send", data=MESSAGE.encode()))
    form = {"media": ("a.jpg", picture, "image/jpeg")}
    uploaded = told("requests, a form", session.post(BASE + "/cgi-bin/media/upload", params={"type": "image"}, files=form))
    # A body without a length goes out in chunks, which WeChat refuses.
    told("requests, in chunks", session.post(BASE + "/cgi-bin/message/custom/send", data=in_parts(MESSAGE.encode())))
    back = session.get(BASE + "/cgi-bin/media/get", params={"media_id": uploaded["media_id"]}, stream=True)
    same = b"".join(back.iter_content(8192)) == picture
    print("requests, a download:", "the same bytes" if same else "other bytes")


def with_httpx(picture):
    with httpx.Client(http2=True, base_url=HTTPS, verify=ssl.create_default_context(cafile=CA), timeout=30) as client:
        for number in range(3):
            response = client.get("/cgi-bin/user/info", params={"openid": OPENID})
            told(f"httpx over {response.http_version}, call {number}", response)
        told("httpx, a message", client.post("/cgi-bin/message/custom/send", content=MESSAGE.encode()))
        told("httpx, in parts", client.post("/cgi-bin/message/custom/send", content=in_parts(MESSAGE.encode())))
        form = {"media": ("a.jpg", picture, "image/jpeg")}
        uploaded = told("httpx, a form", client.post("/cgi-bin/media/upload?type=image", files=form))
        back = client.get("/cgi-bin/media/get", params={"media_id": uploaded["media_id"]})
        print("httpx, a download:", "the same bytes" if back.content == picture else "other bytes")


def with_wechatpy():
    class Client(wechatpy.WeChatClient):
        API_BASE_URL = BASE + "/cgi-bin/"

    client = Client("any appid", "no secret", access_token="wxgate puts it in")
    print("wechatpy, followers:", client.user.get_followers()["total"])
    print("wechatpy, follower:", client.user.get(OPENID)["openid"])
    print("wechatpy, message:", client.message.send_text(OPENID, "您好")["errmsg"])
    with open(PICTURE, "rb") as picture:
        print("wechatpy, upload:", client.media.upload("image", picture)["type"])
    print("wechatpy, menu:", client.menu.create({"button": [{"type": "click", "name": "歌曲", "key": "K"}]})["errcode"])


def main():
    with open(PICTURE, "rb") as file:
        picture = file.read()
    with_requests(picture)
    with_httpx(picture)
    with_wechatpy()


if __name__ == "__main__":
    main()
