# bash completion for drover(1)
#
# Names of VMs, hosts and tasks are asked of the agent that the command line would use; without one
# there is simply nothing to offer. Names have no blanks (shellcheck's SC2207).
# shellcheck disable=SC2207

_drover_ask() {
    local index options=()
    for ((index = 1; index < cword; index++)); do
        case ${words[index]} in
        --connect | --tls | --token-file) options+=("${words[index]}" "${words[index + 1]}") ;;
        esac
    done
    timeout 2 drover "${options[@]}" "$@" 2>/dev/null
}

_drover_first_column() {
    _drover_ask "$@" | awk 'NR > 1 { print $1 }'
}

_drover_peers() {
    _drover_ask host show |
        awk '/^[^ ]/ { found = /^peers / } found { sub(/^peers */, ""); sub(/:.*/, ""); print $1 }'
}

_drover_datastores() {
    _drover_ask host show |
        awk '/^[^ ]/ { found = /^datastores / } found { sub(/^datastores */, ""); sub(/:.*/, ""); print $1 }'
}

# What the option before the cursor takes; false when it takes nothing.
_drover_value() {
    case $1 in
    --connect) COMPREPLY=($(compgen -W "unix:/run/drover/droverd.sock https://" -- "$cur")) ;;
    --tls | --folder | --host-folder) COMPREPLY=($(compgen -d -- "$cur")) ;;
    --token-file | --join-token-file | --import | --kernel | --initrd | --file) COMPREPLY=($(compgen -f -- "$cur")) ;;
    --to) COMPREPLY=($(compgen -W "$(_drover_peers)" -- "$cur")) ;;
    --accelerator) COMPREPLY=($(compgen -W "auto kvm tcg" -- "$cur")) ;;
    --pace) COMPREPLY=($(compgen -W "on off" -- "$cur")) ;;
    --on-timeout) COMPREPLY=($(compgen -W "abort stop" -- "$cur")) ;;
    --compress) COMPREPLY=($(compgen -W "auto off" -- "$cur")) ;;
    --engine) COMPREPLY=($(compgen -W "auto drover native" -- "$cur")) ;;
    --lease-kind | --kind) COMPREPLY=($(compgen -W "local file sanlock" -- "$cur")) ;;
    --progress) COMPREPLY=($(compgen -W "live plain json none" -- "$cur")) ;;
    --memory | --vcpus | --disk | --nic | --cpu | --machine | --append | --datastore | --timeout | --address | \
        --blackout | --bandwidth | --channels | --name | --hosts | --migration-networks | \
        --heartbeat | --stop-after | --takeover | \
        --lease-times | --datastore-size | --days | --minutes) ;;
    *) return 1 ;;
    esac
}

_drover_options() {
    local common="--connect --tls --token-file --json --help"
    case $1 in
    "vm create")
        echo "$common --memory --vcpus --disk --import --nic --cpu --machine --accelerator" \
            "--no-vga --kernel --initrd --append --datastore --file"
        ;;
    "vm start") echo "$common --take-over --fenced" ;;
    "vm stop") echo "$common --force --timeout" ;;
    "vm migrate")
        echo "$common --to --dry-run --blackout --pace --timeout --on-timeout --compress" \
            "--channels --engine --bandwidth --progress --no-wait"
        ;;
    "vm rm") echo "$common --yes" ;;
    "datastore set-lease") echo "$common --kind --heartbeat --stop-after --takeover" ;;
    "ca init") echo "$common --folder --host-folder --address --days" ;;
    "ca token") echo "$common --operator --address --minutes" ;;
    "ca join") echo "$common --join-token-file --folder" ;;
    "ca revoke") echo "$common --operator" ;;
    "lab up")
        echo "--name --hosts --migration-networks --lease-kind --lease-times --datastore-size" \
            "--no-agents --help"
        ;;
    "lab status") echo "--name --json --help" ;;
    lab*) echo "--name --help" ;;
    *) echo "$common" ;;
    esac
}

_drover_words() {
    case $1 in
    "") echo "vm host datastore lease task ca lab version help" ;;
    vm) echo "create start stop list show console migrate rm" ;;
    host) echo "show" ;;
    datastore) echo "show set-lease" ;;
    lease) echo "list" ;;
    task) echo "list show cancel" ;;
    ca) echo "init token join list renew revoke rollover" ;;
    lab) echo "up status exec agent guard link rate power-off power-on down" ;;
    help) echo "vm host datastore lease task ca lab version" ;;
    "vm start" | "vm stop" | "vm show" | "vm console" | "vm migrate" | "vm rm")
        _drover_first_column vm list
        ;;
    "datastore show" | "datastore set-lease") _drover_datastores ;;
    "task show" | "task cancel") _drover_first_column task list ;;
    esac
}

_drover() {
    local cur=${COMP_WORDS[COMP_CWORD]} cword=$COMP_CWORD command="" index
    local words=("${COMP_WORDS[@]}")
    compopt -o default 2>/dev/null
    COMPREPLY=()
    _drover_value "${words[cword - 1]}" && return
    for ((index = 1; index < cword; index++)); do
        case ${words[index]} in
        --connect | --tls | --token-file) ((index++)) ;;
        -*) ;;
        *)
            command+="${command:+ }${words[index]}"
            [[ $command == *" "* || $command == help || $command == version ]] && break
            ;;
        esac
    done
    if [[ $cur == -* ]]; then
        COMPREPLY=($(compgen -W "$(_drover_options "$command")" -- "$cur"))
    else
        COMPREPLY=($(compgen -W "$(_drover_words "$command")" -- "$cur"))
    fi
}

complete -F _drover drover
