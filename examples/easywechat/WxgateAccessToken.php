<?php

declare(strict_types=1);

use EasyWeChat\Kernel\Contracts\RefreshableAccessToken;

/**
 * EasyWeChat 6 with a token from wxgate, for apps that cannot go through a proxy:
 *
 *     $app = new EasyWeChat\OfficialAccount\Application(['app_id' => 'wx…', 'secret' => 'none', …]);
 *     $app->setAccessToken(new WxgateAccessToken('http://10.1.0.5:8080', getenv('WXGATE_KEY')));
 *
 * In wxgate.toml this caller has `real_token = true`. wxgate keeps the token, so nothing is cached here: a look at it
 * takes less than a millisecond, and another process may have had it replaced.
 */
class WxgateAccessToken implements RefreshableAccessToken
{
    private ?string $token = null;

    public function __construct(private string $wxgate, private string $key = '')
    {
    }

    public function getToken(): string
    {
        return $this->token ??= $this->ask([]);
    }

    /** WeChat has refused the token. wxgate fetches another one, unless somebody has had it replaced already. */
    public function refresh(): string
    {
        $refused = $this->token === null ? [] : ['access_token' => $this->token];

        return $this->token = $this->ask(['force_refresh' => true] + $refused);
    }

    /** @return array<string, string> */
    public function toQuery(): array
    {
        return ['access_token' => $this->getToken()];
    }

    /** @param array<string, mixed> $more */
    private function ask(array $more): string
    {
        $call = curl_init($this->wxgate . '/cgi-bin/stable_token');
        curl_setopt_array($call, [
            CURLOPT_RETURNTRANSFER => true,
            CURLOPT_TIMEOUT => 10,
            CURLOPT_HTTPHEADER => ['Content-Type: application/json', 'X-Wxgate-Key: ' . $this->key],
            CURLOPT_POSTFIELDS => json_encode(['grant_type' => 'client_credential'] + $more),
        ]);
        $answer = json_decode((string) curl_exec($call), true);
        if (empty($answer['access_token'])) {
            throw new RuntimeException('no token from wxgate: ' . ($answer['errmsg'] ?? curl_error($call)));
        }

        return $answer['access_token'];
    }
}
