"""What picture and README say of a result, in English and in Chinese."""

CHINESE = {
    # Loads.
    "small GET": "小 GET", "small GET, new connection": "小 GET，每次新建连接", "POST of 300 bytes": "300 字节的 POST",
    "download of 1 MiB": "下载 1 MiB", "upload of 5 MiB": "上传 5 MiB", "HTTPS, small GET": "HTTPS，小 GET",
    "HTTPS, new connection": "HTTPS，每次新建连接", "HTTP/2, small GET": "HTTP/2，小 GET",
    "HTTP/2, POST of 300 bytes": "HTTP/2，300 字节的 POST",
    # Proxies, and ways to call.
    "nginx, 256 kept": "nginx，保留 256 个连接", "nginx with Lua": "nginx 加 Lua", "wxgate, optimised": "wxgate 优化构建",
    "direct": "直连", "through wxgate": "经过 wxgate",
    # The caption.
    "{}, {}, {} cores, Linux {}; {}; medians of {} rounds of {} s": "{}，{}，{} 核，Linux {}；{}；{} 轮、每轮 {} 秒的中位数",
    "each proxy alone on one core, one worker": "各占一个核，一个 worker",
    "proxy, load and upstream share all cores, a worker for each core": "代理、压测程序和上游共用全部核，每个核一个 worker",
    # The picture.
    "What a call costs, beside {}": "一次调用的开销，与 {} 相比",
    "CPU a request, that of {} = 1 (shorter is better)": "每个请求的 CPU，{} = 1（越短越好）",
    "A call from PHP over {:.0f} ms, in ms (shorter is better)": "PHP 跨往返 {:.0f} ms 的网络调用一次，单位 ms（越短越好）",
    "Requests a second, all callers at once (longer is better)": "所有连接同时调用时，每秒的请求数（越长越好）",
    "and within how many ms 99 of 100 calls were answered": "以及 99% 的调用在多少 ms 内得到响应",
    "{:,} callers": "{:,} 个连接",
    ", {:,} errors": "，{:,} 个错误",
    # README.
    "CPU a request ({} = 1)": "每个请求的 CPU（{} = 1）",
    "callers at once: requests/s (99 of 100 within)": "同时调用的连接数：每秒请求数（99% 在此时间内）",
    "A call from PHP, with a new connection as PHP-FPM makes it, to an API {:.0f} ms away takes {:.0f} ms direct, and {:.0f} ms "
    "through wxgate.": "PHP（像 PHP-FPM 那样每次新建连接）调用往返 {:.0f} 毫秒以外的接口：直连 {:.0f} 毫秒，经过 wxgate {:.0f} 毫秒。",
}


def english(words, *figures):
    return words.format(*figures)


def chinese(words, *figures):
    return CHINESE.get(words, words).format(*figures)
