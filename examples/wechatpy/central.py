"""An app on wechatpy that calls WeChat by itself and takes its token from wxgate: the central server of WeChat's
documents, for apps that cannot go through a proxy.

    pip install 'wechatpy[cryptography]'
    WXGATE=http://127.0.0.1:8080 WXGATE_KEY=… python central.py

In wxgate.toml this caller has `real_token = true`. It needs no AppSecret.
"""

import os
import time

from wechatpy import WeChatClient
from wechatpy.exceptions import WeChatClientException

WXGATE = os.environ.get("WXGATE", "http://127.0.0.1:8080")
KEY = os.environ.get("WXGATE_KEY", "")


class Client(WeChatClient):
    """A client whose tokens come from wxgate; everything else is wechatpy's."""

    API_BASE_URL = os.environ.get("WECHAT_API", "https://api.weixin.qq.com") + "/cgi-bin/"

    def __init__(self, appid, **more):
        super().__init__(appid, "no secret", **more)

    def fetch_access_token(self):
        # wechatpy asks here when the time of its token is nearly over, and when WeChat has refused it before. Only in
        # the second case another one is wanted; wxgate fetches it unless somebody else has done so already.
        ask = {"grant_type": "client_credential", "appid": self.appid}
        if self.expires_at is not None and self.expires_at - time.time() > 60:
            ask.update(force_refresh=True, access_token=self.session.get(self.access_token_key))
        answer = self._http.post(
            WXGATE + "/cgi-bin/stable_token",
            json=ask,
            headers={"X-Wxgate-Key": KEY},
            timeout=10,
        ).json()
        if "access_token" not in answer:
            raise WeChatClientException(answer["errcode"], answer["errmsg"], client=self)
        life = answer["expires_in"]
        self.session.set(self.access_token_key, answer["access_token"], life)
        self.expires_at = int(time.time()) + life
        return answer


def main():
    client = Client(os.environ.get("WECHAT_APPID", "wx0000000000000001"))
    for call in ["first", "second", "third"]:
        print(call, "call:", client.user.get_followers()["total"], "followers", flush=True)
        input()


if __name__ == "__main__":
    main()
