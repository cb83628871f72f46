<?php
/*
 * PHP without curl: the http:// stream wrapper and sockets written to by hand, as plugins and sample code have them.
 *     php streams.php BASE_URL PICTURE
 * Prints a line for each call; a header of wxgate's own stands behind it.
 */

$base = $argv[1];
$picture = file_get_contents($argv[2]);
$host = parse_url($base, PHP_URL_HOST);
$port = parse_url($base, PHP_URL_PORT);
$openid = 'oSandboxFollower000000000001';
$message = '{"touser":"' . $openid . '","msgtype":"text","text":{"content":"您好"}}';

function told($what, $head, $body)
{
    $answer = json_decode($body, true);
    $said = is_array($answer) ? (isset($answer['errcode']) ? $answer['errcode'] : 0) : 'other than JSON';
    preg_match_all('/^x-wxgate-[^\r\n]*/mi', $head, $own);
    echo implode(' ', array_merge(array("$what: $said"), $own[0])), "\n";
    return $answer;
}

/* HTTP/1.1, with a Connection: close of its own; $http_response_header appears out of nowhere. */
$body = file_get_contents($base . '/cgi-bin/user/get?access_token=STALE&next_openid=');
told('file_get_contents', implode("\n", $http_response_header), $body);

/* Header lines that end in the line end of the machine. */
$post = array('http' => array(
    'method' => 'POST',
    'header' => 'Content-Type: application/json' . PHP_EOL . 'Accept: */*' . PHP_EOL,
    'content' => $message,
    'ignore_errors' => true,
));
$body = file_get_contents($base . '/cgi-bin/message/custom/send', false, stream_context_create($post));
told('file_get_contents with a POST', implode("\n", $http_response_header), $body);

/* A form put together by hand. */
$boundary = '----------------------------' . substr(md5('boundary'), 0, 12);
$form = "--$boundary\r\nContent-Disposition: form-data; name=\"media\"; filename=\"a.jpg\"\r\n"
    . "Content-Type: image/jpeg\r\n\r\n$picture\r\n--$boundary--\r\n";
$upload = array('http' => array(
    'method' => 'POST',
    'header' => "Content-Type: multipart/form-data; boundary=$boundary\r\n",
    'protocol_version' => '1.0',
    'content' => $form,
));
$body = file_get_contents($base . '/cgi-bin/media/upload?type=image', false, stream_context_create($upload));
$uploaded = told('file_get_contents with a form', implode("\n", $http_response_header), $body);

/* One socket for each call; what comes is read until it ends. */
function ask($request)
{
    global $host, $port;
    $socket = fsockopen($host, $port, $errno, $error, 30);
    fputs($socket, $request);
    $all = '';
    while (!feof($socket)) {
        $all .= fgets($socket, 4096);
    }
    fclose($socket);
    return explode("\r\n\r\n", $all, 2);
}

list($head, $body) = ask("GET /cgi-bin/user/info?openid=$openid HTTP/1.0\r\nHost: $host\r\n\r\n");
told('fsockopen, HTTP/1.0', $head, $body);
list($head, $body) = ask("POST  /cgi-bin/message/custom/send  HTTP/1.1\nHost: $host:$port\nConnection: Close\n"
    . 'Content-Length: ' . strlen($message) . "\n\n" . $message);
told('fsockopen, HTTP/1.1 with bare line feeds', $head, $body);
list($head, $body) = ask("GET /cgi-bin/media/get?media_id={$uploaded['media_id']} HTTP/1.0\r\n\r\n");
echo 'download: ', $body === $picture ? 'the same bytes' : 'other bytes', "\n";

/* One socket for several calls. */
$socket = fsockopen($host, $port, $errno, $error, 30);
foreach (array('first', 'second', 'third') as $which) {
    fputs($socket, "GET //cgi-bin/user/get HTTP/1.1\r\nHost: $host\r\nConnection: Keep-Alive\r\n\r\n");
    $head = '';
    while (($line = fgets($socket, 4096)) !== "\r\n") {
        $head .= $line;
    }
    preg_match('/\r\nContent-Length: (\d+)/', $head, $found);
    told("$which on one socket", $head, stream_get_contents($socket, (int) $found[1]));
}
fclose($socket);
