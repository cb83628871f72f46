# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_wxgate_global_optspecs
    string join \n config= h/help V/version
end

function __fish_wxgate_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_wxgate_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_wxgate_using_subcommand
    set -l cmd (__fish_wxgate_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c wxgate -n "__fish_wxgate_needs_command" -l config -d 'The configuration file' -r -F
complete -c wxgate -n "__fish_wxgate_needs_command" -s h -l help -d 'Print help'
complete -c wxgate -n "__fish_wxgate_needs_command" -s V -l version -d 'Print version'
complete -c wxgate -n "__fish_wxgate_needs_command" -f -a "serve" -d 'Run the proxy (also what a bare `wxgate` does)'
complete -c wxgate -n "__fish_wxgate_needs_command" -f -a "check" -d 'Say what is right and what is wrong, and how to mend it'
complete -c wxgate -n "__fish_wxgate_needs_command" -f -a "init" -d 'Ask for appid and AppSecret, write wxgate.toml and the secret\'s file, run the check'
complete -c wxgate -n "__fish_wxgate_needs_command" -f -a "health" -d 'Ask the running wxgate\'s admin listener: exit 0 ready, 1 not'
complete -c wxgate -n "__fish_wxgate_needs_command" -f -a "config" -d 'Show the configuration in force, or the schema of the file'
complete -c wxgate -n "__fish_wxgate_needs_command" -f -a "demo" -d 'Sandbox and proxy in one process, ready for curl, nothing to configure'
complete -c wxgate -n "__fish_wxgate_needs_command" -f -a "completions" -d 'Print completions for a shell: bash, zsh, fish, elvish or powershell'
complete -c wxgate -n "__fish_wxgate_needs_command" -f -a "sandbox" -d 'A WeChat API look-alike for tests and for a caller\'s own CI'
complete -c wxgate -n "__fish_wxgate_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c wxgate -n "__fish_wxgate_using_subcommand serve" -l config -d 'The configuration file' -r -F
complete -c wxgate -n "__fish_wxgate_using_subcommand serve" -s h -l help -d 'Print help'
complete -c wxgate -n "__fish_wxgate_using_subcommand check" -l config -d 'The configuration file' -r -F
complete -c wxgate -n "__fish_wxgate_using_subcommand check" -l offline -d 'Look at files and settings alone; contact nobody'
complete -c wxgate -n "__fish_wxgate_using_subcommand check" -l json -d 'Write the findings as JSON, one object'
complete -c wxgate -n "__fish_wxgate_using_subcommand check" -l alerts -d 'Send a test message to each robot'
complete -c wxgate -n "__fish_wxgate_using_subcommand check" -s h -l help -d 'Print help'
complete -c wxgate -n "__fish_wxgate_using_subcommand init" -l offline -d 'Check files and settings alone; contact nobody'
complete -c wxgate -n "__fish_wxgate_using_subcommand init" -s h -l help -d 'Print help'
complete -c wxgate -n "__fish_wxgate_using_subcommand health" -l config -d 'The configuration file' -r -F
complete -c wxgate -n "__fish_wxgate_using_subcommand health" -s h -l help -d 'Print help'
complete -c wxgate -n "__fish_wxgate_using_subcommand config; and not __fish_seen_subcommand_from print schema help" -l config -d 'The configuration file' -r -F
complete -c wxgate -n "__fish_wxgate_using_subcommand config; and not __fish_seen_subcommand_from print schema help" -s h -l help -d 'Print help'
complete -c wxgate -n "__fish_wxgate_using_subcommand config; and not __fish_seen_subcommand_from print schema help" -f -a "print" -d 'Each value that is in force, secrets masked, and where it comes from'
complete -c wxgate -n "__fish_wxgate_using_subcommand config; and not __fish_seen_subcommand_from print schema help" -f -a "schema" -d 'The JSON schema of the file, for editors: `#:schema ./wxgate.schema.json` in its first line'
complete -c wxgate -n "__fish_wxgate_using_subcommand config; and not __fish_seen_subcommand_from print schema help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c wxgate -n "__fish_wxgate_using_subcommand config; and __fish_seen_subcommand_from print" -l config -d 'The configuration file' -r -F
complete -c wxgate -n "__fish_wxgate_using_subcommand config; and __fish_seen_subcommand_from print" -s h -l help -d 'Print help'
complete -c wxgate -n "__fish_wxgate_using_subcommand config; and __fish_seen_subcommand_from schema" -l config -d 'The configuration file' -r -F
complete -c wxgate -n "__fish_wxgate_using_subcommand config; and __fish_seen_subcommand_from schema" -s h -l help -d 'Print help'
complete -c wxgate -n "__fish_wxgate_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "print" -d 'Each value that is in force, secrets masked, and where it comes from'
complete -c wxgate -n "__fish_wxgate_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "schema" -d 'The JSON schema of the file, for editors: `#:schema ./wxgate.schema.json` in its first line'
complete -c wxgate -n "__fish_wxgate_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c wxgate -n "__fish_wxgate_using_subcommand demo" -s h -l help -d 'Print help'
complete -c wxgate -n "__fish_wxgate_using_subcommand completions" -s h -l help -d 'Print help'
complete -c wxgate -n "__fish_wxgate_using_subcommand sandbox" -l listen -d 'Address to listen on; with port 0 the system chooses one' -r
complete -c wxgate -n "__fish_wxgate_using_subcommand sandbox" -l appid -d 'An appid that it knows; repeat it, each time with a --secret, for several accounts [default: wx0000000000000001]' -r
complete -c wxgate -n "__fish_wxgate_using_subcommand sandbox" -l secret -d 'The AppSecret of the --appid in the same place [default: sandbox0secret0sandbox0secret001]' -r
complete -c wxgate -n "__fish_wxgate_using_subcommand sandbox" -l token-ttl -d 'How long a token lives' -r
complete -c wxgate -n "__fish_wxgate_using_subcommand sandbox" -l overlap -d 'How long the previous token still works after a new one was issued' -r
complete -c wxgate -n "__fish_wxgate_using_subcommand sandbox" -l allow-ip -d 'An address on the whitelist; others get 40164 (WeCom: 60020). Can be repeated' -r
complete -c wxgate -n "__fish_wxgate_using_subcommand sandbox" -l api-quota -d 'How often each interface may be called a day before it answers 45009; 0 for no limit' -r
complete -c wxgate -n "__fish_wxgate_using_subcommand sandbox" -l cert -d 'PEM chain to serve instead of the built-in one' -r -F
complete -c wxgate -n "__fish_wxgate_using_subcommand sandbox" -l key -d 'Private key of --cert, PEM' -r -F
complete -c wxgate -n "__fish_wxgate_using_subcommand sandbox" -l plain -d 'Speak plain HTTP instead of HTTPS'
complete -c wxgate -n "__fish_wxgate_using_subcommand sandbox" -l wecom -d 'Play WeCom: an --appid is a corpid, ww0000000000000001 when none is given; repeat it with another --secret for another application'
complete -c wxgate -n "__fish_wxgate_using_subcommand sandbox" -l api-security -d 'Ask for the API security mode (服务端 API 签名与加密): plain calls of the interfaces that support it are refused, encrypted and signed ones answered so, with the keys of `GET /sandbox/sealed`'
complete -c wxgate -n "__fish_wxgate_using_subcommand sandbox" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c wxgate -n "__fish_wxgate_using_subcommand help; and not __fish_seen_subcommand_from serve check init health config demo completions sandbox help" -f -a "serve" -d 'Run the proxy (also what a bare `wxgate` does)'
complete -c wxgate -n "__fish_wxgate_using_subcommand help; and not __fish_seen_subcommand_from serve check init health config demo completions sandbox help" -f -a "check" -d 'Say what is right and what is wrong, and how to mend it'
complete -c wxgate -n "__fish_wxgate_using_subcommand help; and not __fish_seen_subcommand_from serve check init health config demo completions sandbox help" -f -a "init" -d 'Ask for appid and AppSecret, write wxgate.toml and the secret\'s file, run the check'
complete -c wxgate -n "__fish_wxgate_using_subcommand help; and not __fish_seen_subcommand_from serve check init health config demo completions sandbox help" -f -a "health" -d 'Ask the running wxgate\'s admin listener: exit 0 ready, 1 not'
complete -c wxgate -n "__fish_wxgate_using_subcommand help; and not __fish_seen_subcommand_from serve check init health config demo completions sandbox help" -f -a "config" -d 'Show the configuration in force, or the schema of the file'
complete -c wxgate -n "__fish_wxgate_using_subcommand help; and not __fish_seen_subcommand_from serve check init health config demo completions sandbox help" -f -a "demo" -d 'Sandbox and proxy in one process, ready for curl, nothing to configure'
complete -c wxgate -n "__fish_wxgate_using_subcommand help; and not __fish_seen_subcommand_from serve check init health config demo completions sandbox help" -f -a "completions" -d 'Print completions for a shell: bash, zsh, fish, elvish or powershell'
complete -c wxgate -n "__fish_wxgate_using_subcommand help; and not __fish_seen_subcommand_from serve check init health config demo completions sandbox help" -f -a "sandbox" -d 'A WeChat API look-alike for tests and for a caller\'s own CI'
complete -c wxgate -n "__fish_wxgate_using_subcommand help; and not __fish_seen_subcommand_from serve check init health config demo completions sandbox help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c wxgate -n "__fish_wxgate_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "print" -d 'Each value that is in force, secrets masked, and where it comes from'
complete -c wxgate -n "__fish_wxgate_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "schema" -d 'The JSON schema of the file, for editors: `#:schema ./wxgate.schema.json` in its first line'
