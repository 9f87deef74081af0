#compdef pintle
# Completion of pintle for zsh: as _pintle in a directory of fpath, or sourced after compinit.

_pintle() {
    local -a answer candidates
    local line value directive=0 tab=$'\t'
    answer=("${(@f)$("${words[1]}" __complete "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
    for line in "${answer[@]}"; do
        if [[ $line == :<-> ]]; then
            directive=${line#:}
        elif [[ -n $line ]]; then
            value=${${line%%$tab*}//:/\\:}
            if [[ $line == *$tab* ]]; then candidates+=("$value:${line#*$tab}"); else candidates+=("$value"); fi
        fi
    done
    if (( $#candidates == 0 )); then
        (( directive & 4 )) || _files
    elif (( directive & 2 )); then
        _describe -V pintle candidates -S ''
    else
        _describe -V pintle candidates
    fi
}

if [[ $funcstack[1] == _pintle ]]; then
    _pintle "$@"
else
    compdef _pintle pintle
fi
