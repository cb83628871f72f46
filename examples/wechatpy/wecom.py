"""A WeCom application on wechatpy, behind wxgate: the base URL is all that changes.

    pip install 'wechatpy[cryptography]'
    WXGATE=http://127.0.0.1:8080 python wecom.py picture.jpg

No secret is needed here. wechatpy knows the address of `gettoken` by heart and would ask WeCom itself; with an
`access_token` given it does not, and wxgate puts the real one into every call.
"""

import os
import sys

from wechatpy.enterprise import WeChatClient


class Client(WeChatClient):
    API_BASE_URL = os.environ.get("WXGATE", "http://127.0.0.1:8080") + "/cgi-bin/"


def main():
    client = Client("any corpid", "no secret", access_token="wxgate puts it in")
    print("member:", client.user.get("zhangsan")["name"])
    print("message:", client.message.send_text(1, ["zhangsan", "lisi"], "您好，“世界” & <b>100%</b> 😀")["errmsg"])
    with open(sys.argv[1], "rb") as picture:
        uploaded = client.media.upload("image", picture)
    print("upload:", uploaded["type"])
    with open(sys.argv[1], "rb") as picture:
        # Not `client.media.download`: that one has WeCom's address by heart, too.
        downloaded = client.get("media/get", params={"media_id": uploaded["media_id"]})
        same = downloaded.content == picture.read()
    print("download:", "the same bytes" if same else "other bytes")
    print("ticket:", "yes" if client.jsapi.get_jsapi_ticket() else "no")


if __name__ == "__main__":
    main()
