// A Node SDK of the npm registry (co-wechat-api), and Node's own fetch.
//
//     NODE_PATH=…/node_modules node sdk.js BASE_URL APPID PICTURE
//
// Prints a line for each call.
'use strict';

const fs = require('fs');
const WechatAPI = require('co-wechat-api');

const [base, appid, picture] = process.argv.slice(2);
const openid = 'oSandboxFollower000000000001';

async function withTheSdk() {
  const api = new WechatAPI(appid, 'no secret');
  // Its calls are put together from this one.
  api.prefix = `${base}/cgi-bin/`;
  console.log('followers:', (await api.getFollowers()).total);
  console.log('follower:', (await api.getUser({ openid, lang: 'zh_CN' })).openid);
  console.log('message:', (await api.sendText(openid, '您好,"世界" & <b>100%</b> 😀')).errmsg);
  const menu = { button: [{ type: 'click', name: '今日歌曲', key: 'V1001_TODAY_MUSIC' }] };
  console.log('menu:', (await api.createMenu(menu)).errcode, (await api.getMenu()).menu.button[0].name);
  const uploaded = await api.uploadImageMedia(picture);
  console.log('upload:', uploaded.type);
  const back = await api.getMedia(uploaded.media_id);
  console.log('download:', back.equals(fs.readFileSync(picture)) ? 'the same bytes' : 'other bytes');
  console.log('qrcode:', (await api.createLimitQRCode('店')).url.startsWith('http'));
  try {
    await api.sendText('nobody', 'x');
    console.log('to nobody: sent');
  } catch (error) {
    console.log('to nobody:', error.code);
  }
}

async function withFetch() {
  const told = async (what, response) => {
    const own = [...response.headers].filter(([name]) => name.startsWith('x-wxgate'));
    const answer = await response.json();
    console.log(`fetch, ${what}:`, answer.errcode ?? 0, ...own);
    return answer;
  };
  await told('followers', await fetch(`${base}/cgi-bin/user/get?access_token=STALE`));
  const body = JSON.stringify({ touser: openid, msgtype: 'text', text: { content: '您好' } });
  await told('message', await fetch(`${base}/cgi-bin/message/custom/send`, { method: 'POST', body }));
  const stream = new Blob([body]).stream();
  const chunks = { method: 'POST', body: stream, duplex: 'half' };
  await told('message in chunks', await fetch(`${base}/cgi-bin/message/custom/send`, chunks));
  const form = new FormData();
  form.append('media', new Blob([fs.readFileSync(picture)], { type: 'image/jpeg' }), 'a.jpg');
  await told('form', await fetch(`${base}/cgi-bin/media/upload?type=image`, { method: 'POST', body: form }));
}

withTheSdk()
  .then(withFetch)
  .catch((error) => {
    console.error(error);
    process.exit(1);
  });
