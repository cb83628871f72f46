"""The configurations of the servers of `benches/end-to-end`: templates for `str.format`, and what is in them.

It has what each proxy does; what starts it is in servers.py.
"""

import json
import secrets

TOKEN = secrets.token_urlsafe(118)  # 158 characters; WeChat's have 157
FOLLOWER = json.dumps({
    "subscribe": 1, "openid": "o6_bmjrPTlm6_2sgVt7hMZOPfL2M", "nickname": "Band", "sex": 1, "language": "zh_CN",
    "city": "Guangzhou", "province": "Guangdong", "country": "China", "subscribe_time": 1382694957,
    "headimgurl": "http://thirdwx.example/mmopen/" + "g3MonUZtNHkdmzicIlibx6iaFqAc56vxLSUfpb6n5WKSYVY0ChQKkiaJSg" * 2,
    "unionid": "o6_bmasdasdsad6_2sgVt7hMZOPfL", "remark": "", "groupid": 0, "tagid_list": [128, 2],
    "subscribe_scene": "ADD_SCENE_QR_CODE", "qr_scene": 98765, "qr_scene_str": ""})


def settings(callers):
    """For so many at one moment: callers and connections that a proxy may have, how many to the upstream nginx keeps,
    and how many calls HAProxy has there. Tried for thousands of callers were 256, 1,024 and 9,500 that are kept, and 64,
    512 and any number of calls."""
    return {"callers": callers + 100, "connections": 2 * callers + 400, "kept": callers,
            "bound": "maxconn 64" if callers >= 1000 else ""}


NGINX = """{modules}{user}
daemon off;
worker_processes {workers};
pid {dir}/pid;
error_log {dir}/error.log warn;
events {{ worker_connections {connections}; }}
http {{
  access_log off;
  keepalive_timeout 600s;
  keepalive_requests 1000000000;
  client_max_body_size 64m;
  client_body_temp_path {dir}/body;
  proxy_temp_path {dir}/proxy;
  fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi;
  scgi_temp_path {dir}/scgi;
  ssl_certificate {certs}/server.pem;
  ssl_certificate_key {certs}/server.key;
  ssl_session_cache shared:tls:10m;
  # One cipher for all: none is ahead by its choice.
  ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
  ssl_protocols TLSv1.3;
{body}
}}
"""

# Every request is looked at: without exactly one token, which is the right one, it is refused. A POST is answered
# once its body has been read to the end, which is what `mirror` waits for: a bare `return` would answer before.
UPSTREAM = """
  map_hash_bucket_size 512;
  map $args $right {{
    default 0;
    "~access_token=.*access_token=" 0;
    "~(^|&)access_token={token}(&|$)" 1;
  }}
  default_type application/json;
  server {{
    listen 127.0.0.1:{port} ssl backlog=4096;
    location = /cgi-bin/token {{ return 200 '{{"access_token":"{token}","expires_in":7200}}'; }}
    location = /cgi-bin/user/info {{ if ($right = 0) {{ return 403; }} return 200 '{follower}'; }}
    location = /cgi-bin/media/get {{ if ($right = 0) {{ return 403; }} default_type image/jpeg; alias {dir}/media; }}
    location = /cgi-bin/message/custom/send {{
      if ($right = 0) {{ return 403; }}
      mirror /read; alias {dir}/media; error_page 405 =200 @done;
    }}
    location = /cgi-bin/media/upload {{
      if ($right = 0) {{ return 403; }}
      client_body_buffer_size 8m;
      mirror /read; alias {dir}/media; error_page 405 =200 @done;
    }}
    location = /read {{ internal; return 204; }}
    location @done {{ return 200 '{{"errcode":0,"errmsg":"ok"}}'; }}
    # For the checks: what came, in words and as a file.
    location = /cgi-bin/bench/seen {{ return 200 '$request_method $request_uri $http_host'; }}
    location = /cgi-bin/bench/kept {{
      if ($right = 0) {{ return 403; }}
      client_body_in_file_only on;
      mirror /read; alias {dir}/media; error_page 405 =200 @kept;
    }}
    location @kept {{ return 200 '$request_body_file'; }}
  }}
"""

# {locations} is where nginx and nginx with Lua differ.
NGINX_PROXY = """
  upstream api {{ server 127.0.0.1:{upstream}; keepalive {kept}; keepalive_requests 1000000000; keepalive_timeout 600s; }}
  proxy_http_version 1.1;
  proxy_set_header Host localhost;
  proxy_set_header Connection "";
  proxy_ssl_server_name on;
  proxy_ssl_name localhost;
  proxy_ssl_verify on;
  proxy_ssl_trusted_certificate {certs}/ca.pem;
  proxy_ssl_session_reuse on;
  proxy_ssl_protocols TLSv1.2 TLSv1.3;
  proxy_max_temp_file_size 0;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    listen 127.0.0.1:{tls_port} ssl http2 backlog=4096;
{locations}
  }}
"""

PLAIN_LOCATIONS = """
    set $args "access_token={token}&$args";
    proxy_request_buffering off;
    location / {{ proxy_pass https://api; }}
    location /cgi-bin/media/ {{ {media} proxy_pass https://api; }}
"""

MEDIA = "client_body_buffer_size 128k; proxy_buffer_size 32k; proxy_buffers 16 32k; proxy_busy_buffers_size 128k;"

# What a page of Lua comes to: a token that all workers share, answers read for the errcodes of a dead one, which is
# fetched anew and the call repeated; media are streamed. One fetch for many callers, limits and compressed answers
# would be more.
LUA = r"""
  lua_shared_dict tokens 1m;
  init_by_lua_block {{
    function token()
      local kept = ngx.shared.tokens:get("token")
      if kept then return kept end
      local answer = ngx.location.capture("/api/cgi-bin/token",
        {{ args = "grant_type=client_credential&appid=wx0123456789abcdef&secret=0123456789abcdef" }})
      local found = assert(ngx.re.match(answer.body, [["access_token"\s*:\s*"([^"]+)"]], "jo"))
      ngx.shared.tokens:set("token", found[1], 7000)
      return found[1]
    end
  }}
"""
LUA_LOCATIONS = r"""
    client_body_buffer_size 64k;
    location / {{
      content_by_lua_block {{
        ngx.req.read_body()
        local call = {{ method = ngx["HTTP_" .. ngx.req.get_method()], always_forward_body = true }}
        local answer
        for _ = 1, 2 do
          local used = token()
          call.args = "access_token=" .. used .. "&" .. (ngx.var.args or "")
          answer = ngx.location.capture("/api" .. ngx.var.uri, call)
          if #answer.body > 4096 or not ngx.re.find(answer.body, [["errcode"\s*:\s*4(?:0001|0014|2001)\b]], "jo") then break end
          if ngx.shared.tokens:get("token") == used then ngx.shared.tokens:delete("token") end
        end
        ngx.status = answer.status
        for name, value in pairs(answer.header) do ngx.header[name] = value end
        ngx.print(answer.body)
      }}
    }}
    location /cgi-bin/media/ {{
      access_by_lua_block {{ ngx.req.set_uri_args("access_token=" .. token() .. "&" .. (ngx.var.args or "")) }}
      proxy_request_buffering off;
      {media}
      proxy_pass https://api;
    }}
    location /api/ {{ internal; proxy_pass https://api/; }}
"""

HAPROXY = """
global
  nbthread {workers}
  maxconn {callers}
  ssl-server-verify required
  # Idle connections are kept however many files callers take.
  tune.pool-low-fd-ratio 90
  tune.pool-high-fd-ratio 95
defaults
  mode http
  timeout connect 10s
  timeout client 600s
  timeout server 600s
  http-reuse always
frontend callers
  bind 127.0.0.1:{port} backlog 4096
  bind 127.0.0.1:{tls_port} ssl crt {dir}/pem alpn h2,http/1.1 ciphersuites TLS_AES_128_GCM_SHA256 backlog 4096
  http-request set-query access_token={token}&%[query]
  http-request set-header Host localhost
  default_backend api
backend api
  default-server ssl verify required ca-file {certs}/ca.pem sni str(localhost) verifyhost localhost alpn http/1.1
  server api 127.0.0.1:{upstream} pool-max-conn -1 pool-purge-delay 600s {bound}
"""

WXGATE = """
listen     = ["127.0.0.1:{port}"]
workers    = {workers}
state_dir  = "{dir}/state"
access_log = false

[tls]
listen = ["127.0.0.1:{tls_port}"]
cert   = "{certs}/server.pem"
key    = "{dir}/key"

[limits]
max_connections = {callers}

[upstream]
url = "https://localhost:{upstream}"
ca  = "{certs}/ca.pem"

[[account]]
appid  = "wx0123456789abcdef"
secret = "0123456789abcdef0123456789abcdef"
"""



def nginx(*parts, **inner):
    """A template made of templates."""
    body = "".join(parts)
    for name, text in inner.items():
        body = body.replace("{" + name + "}", text)
    return NGINX.replace("{body}", body).replace("{media}", MEDIA), ["-p", "{dir}", "-c"]


# What each kind of server is started from, and with.
KINDS = {
    "upstream": nginx(UPSTREAM),
    "nginx": nginx(NGINX_PROXY, locations=PLAIN_LOCATIONS),
    "nginx-lua": nginx(LUA, NGINX_PROXY, locations=LUA_LOCATIONS),
    "haproxy": (HAPROXY, ["-db", "-f"]),
    "wxgate": (WXGATE, ["serve", "--config"]),
}
# What is the same kind under another name.
SAME = {"nginx-256": "nginx", "optimised": "wxgate"}
PROXIES = [kind for kind in KINDS if kind != "upstream"] + list(SAME)
