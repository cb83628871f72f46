<?php
/*
 * A mini program's login: openid and session_key for the code that wx.login() gave. Run it as
 *     php login.php CODE
 * There is no appid and no AppSecret here: wxgate puts both in (`secret_paths`).
 */

$base = getenv('WECHAT_API_BASE') ? getenv('WECHAT_API_BASE') : 'http://127.0.0.1:8080';
$code = isset($argv[1]) ? $argv[1] : die("usage: php login.php CODE\n");

$ch = curl_init($base . '/sns/jscode2session?grant_type=authorization_code&js_code=' . urlencode($code));
curl_setopt($ch, CURLOPT_RETURNTRANSFER, true);
curl_setopt($ch, CURLOPT_TIMEOUT, 10);
$body = curl_exec($ch);
if ($body === false) {
    die('no answer: ' . curl_error($ch) . "\n");
}

$session = json_decode($body, true);
if (!empty($session['errcode'])) {
    /* 40163 and 40029: the code has been used, or is none. It works once; ask the mini program for another. */
    die('refused: ' . $session['errcode'] . ' ' . $session['errmsg'] . "\n");
}
echo 'openid: ', $session['openid'], "\n";
echo 'session_key: ', strlen($session['session_key']), " characters, which stay on this server\n";
