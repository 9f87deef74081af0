# Completion of pintle for bash. Needs nothing but bash itself.

_pintle() {
    # bash cuts words at ':' and '=', which names and options are full of: put them together again.
    local rest=${COMP_LINE:0:COMP_POINT} words=() part i
    for ((i = 0; i < COMP_CWORD; i++)); do
        part=${COMP_WORDS[i]}
        if [[ $i == 0 || $rest == [[:space:]]* ]]; then words+=("$part"); else words[-1]+=$part; fi
        rest=${rest#"${rest%%[![:space:]]*}"}
        rest=${rest#"$part"}
    done
    if [[ $rest == [[:space:]]* ]]; then words+=("${rest#"${rest%%[![:space:]]*}"}"); else words[-1]+=$rest; fi

    local answer line directive=0 current=${words[-1]} cut=
    answer=$("${words[0]}" __completeNoDesc "${words[@]:1}" 2>/dev/null) || return
    # What bash takes for the current word begins behind the last of these.
    for part in : =; do
        if [[ $COMP_WORDBREAKS == *"$part"* && $current == *"$part"* ]]; then
            line=${current%"${current##*"$part"}"}
            ((${#line} > ${#cut})) && cut=$line
        fi
    done
    COMPREPLY=()
    while IFS= read -r line; do
        if [[ $line == :* ]]; then directive=${line#:}; else COMPREPLY+=("${line#"$cut"}"); fi
    done <<<"$answer"
    ((directive & 2)) && compopt -o nospace
    if ((directive & 4)); then compopt +o default; else compopt -o default; fi
    ((${#COMPREPLY[@]} > 0))
}

complete -o default -o nosort -F _pintle pintle
