<?php
/*
 * A day's work of an old WeChat app; it prints what it got. Run it as
 *     php app.php PICTURE
 * with a JPEG picture. What differs from run to run (media ids, tickets, times) is printed as its length.
 */

require dirname(__FILE__) . '/wechat.php';

function show($what, $answer)
{
    foreach (array('media_id', 'ticket', 'msgid', 'created_at', 'url') as $key) {
        if (isset($answer[$key])) {
            $answer[$key] = '(' . strlen((string) $answer[$key]) . ')';
        }
    }
    echo $what, ': ', json_encode($answer, JSON_UNESCAPED_UNICODE), "\n";
}

$picture = isset($argv[1]) ? $argv[1] : die("usage: php app.php PICTURE\n");

$followers = wechat_get('/cgi-bin/user/get');
show('followers', $followers);
$openids = isset($followers['data']) ? $followers['data']['openid'] : array();
foreach ($openids as $openid) {
    show('follower', wechat_get('/cgi-bin/user/info', 'openid=' . $openid . '&lang=zh_CN'));
}

$buttons = array();
$buttons[] = array('type' => 'click', 'name' => '今日歌曲', 'key' => 'V1001_TODAY_MUSIC');
/* Longer than 1 KiB with its link: curl asks for "100 Continue" first. */
$link = 'http://example.com/?from=' . str_repeat('menu', 400);
$buttons[] = array('name' => '菜单', 'sub_button' => array(
    array('type' => 'view', 'name' => '搜索', 'url' => $link),
));
show('menu', wechat_post('/cgi-bin/menu/create', array('button' => $buttons)));
$kept = wechat_get('/cgi-bin/menu/get');
echo 'menu as it was sent: ', isset($kept['menu']) && $kept['menu']['button'] == $buttons ? 'yes' : 'no', "\n";

foreach ($openids as $openid) {
    $text = array('content' => '您好,"世界" & <b>100%</b> 😀');
    $message = array('touser' => $openid, 'msgtype' => 'text', 'text' => $text);
    show('message', wechat_post('/cgi-bin/message/custom/send', $message));
}
$nobody = array('touser' => 'nobody', 'msgtype' => 'text', 'text' => array('content' => 'x'));
show('message to nobody', wechat_post('/cgi-bin/message/custom/send', $nobody));

$uploaded = wechat_upload($picture, 'image');
show('upload', $uploaded);
$media_id = isset($uploaded['media_id']) ? $uploaded['media_id'] : '';
$downloaded = wechat_download($media_id);
if (isset($downloaded['bytes'])) {
    $extension = substr($downloaded['filename'], -4);
    $same = $downloaded['bytes'] === file_get_contents($picture);
    echo 'download: ', $extension, ', ', strlen($downloaded['bytes']), ' bytes, ',
        $same ? 'the same' : 'other', " bytes as uploaded\n";
} else {
    show('download', $downloaded);
}
show('download of nothing', wechat_download('no-such-media'));

$code = array('action_name' => 'QR_LIMIT_STR_SCENE', 'action_info' => array('scene' => array('scene_str' => '店')));
show('qrcode', wechat_post('/cgi-bin/qrcode/create', $code));
show('jsapi ticket', wechat_get('/cgi-bin/ticket/getticket', 'type=jsapi'));
