<?php
/*
 * A WeChat SDK as people wrote it in 2012, kept as such code is found today: procedural, one curl handle for
 * each call, the token cached in a JSON file. Nothing in here knows of wxgate. The one line that changes is
 * the base URL; the environment may set it, so that the tests run the same file both ways.
 */

$wechat_base = getenv('WECHAT_API_BASE') ? getenv('WECHAT_API_BASE') : 'https://api.weixin.qq.com';
$wechat_appid = getenv('WECHAT_APPID') ? getenv('WECHAT_APPID') : 'wx0000000000000000';
$wechat_secret = getenv('WECHAT_SECRET') ? getenv('WECHAT_SECRET') : 'put-the-AppSecret-here';
$wechat_cache = getenv('WECHAT_CACHE') ? getenv('WECHAT_CACHE') : dirname(__FILE__) . '/access_token.json';

/* One request. Only the body comes back; whatever HTTP has to say is nobody's business. */
function wechat_http($url, $post = null)
{
    $ch = curl_init();
    curl_setopt($ch, CURLOPT_URL, $url);
    curl_setopt($ch, CURLOPT_RETURNTRANSFER, 1);
    curl_setopt($ch, CURLOPT_TIMEOUT, 30);
    curl_setopt($ch, CURLOPT_ENCODING, 'gzip');
    if ($post !== null) {
        curl_setopt($ch, CURLOPT_POST, 1);
        curl_setopt($ch, CURLOPT_POSTFIELDS, $post);
    }
    $body = curl_exec($ch);
    if ($body === false) {
        $body = '{"errcode":-1,"errmsg":"curl: ' . curl_error($ch) . '"}';
    }
    return $body;
}

/* The token, from the file while it is young enough: the way of WeChat's own sample jssdk.php. */
function wechat_token()
{
    global $wechat_base, $wechat_appid, $wechat_secret, $wechat_cache;
    $data = file_exists($wechat_cache) ? json_decode(file_get_contents($wechat_cache)) : null;
    if ($data && $data->expire_time > time()) {
        return $data->access_token;
    }
    $url = $wechat_base . '/cgi-bin/token?grant_type=client_credential&appid=' . $wechat_appid
        . '&secret=' . $wechat_secret;
    $res = json_decode(wechat_http($url));
    if (!$res || !isset($res->access_token)) {
        die('no access_token: ' . ($res ? $res->errcode . ' ' . $res->errmsg : 'no answer') . "\n");
    }
    $data = new stdClass();
    $data->access_token = $res->access_token;
    $data->expire_time = time() + 7000;
    file_put_contents($wechat_cache, json_encode($data));
    return $data->access_token;
}

function wechat_url($path, $query = '')
{
    global $wechat_base;
    return $wechat_base . $path . '?access_token=' . wechat_token() . ($query ? '&' . $query : '');
}

function wechat_get($path, $query = '')
{
    return json_decode(wechat_http(wechat_url($path, $query)), true);
}

/* WeChat refuses \uXXXX, so Chinese goes out as it is. */
function wechat_post($path, $data, $query = '')
{
    return json_decode(wechat_http(wechat_url($path, $query), json_encode($data, JSON_UNESCAPED_UNICODE)), true);
}

function wechat_upload($file, $type)
{
    /* Before PHP 5.5 a file was a text that begins with an @. */
    if (class_exists('CURLFile')) {
        $media = new CURLFile(realpath($file), 'image/jpeg', basename($file));
    } else {
        $media = '@' . realpath($file);
    }
    $body = wechat_http(wechat_url('/cgi-bin/media/upload', 'type=' . $type), array('media' => $media));
    return json_decode($body, true);
}

/*
 * Media come with a Content-disposition, errors without. The header is looked for by hand and exactly as
 * WeChat spells it, and the body is cut at the Content-Length that was found the same way.
 */
function wechat_download($media_id)
{
    $ch = curl_init(wechat_url('/cgi-bin/media/get', 'media_id=' . $media_id));
    curl_setopt($ch, CURLOPT_RETURNTRANSFER, 1);
    curl_setopt($ch, CURLOPT_TIMEOUT, 30);
    curl_setopt($ch, CURLOPT_HEADER, 1);
    curl_setopt($ch, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_0);
    $all = curl_exec($ch);
    list($head, $body) = explode("\r\n\r\n", $all, 2);
    if (strpos($head, 'Content-disposition: attachment; filename="') === false) {
        return json_decode($body, true);
    }
    if (!preg_match('/\r\nContent-Length: (\d+)/', $head, $found)) {
        return array('errcode' => -1, 'errmsg' => 'no Content-Length in: ' . $head);
    }
    preg_match('/filename="([^"]+)"/', $head, $name);
    return array('filename' => $name[1], 'bytes' => substr($body, 0, (int) $found[1]));
}
