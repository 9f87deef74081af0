# Completion of pintle for fish.

function __pintle_complete
    set -l words (commandline --current-process --tokenize --cut-at-cursor)
    set -l answer ($words[1] __complete $words[2..-1] (commandline --current-token --cut-at-cursor) 2>/dev/null)
    set -l directive 0
    set -l candidates
    for line in $answer
        if string match --quiet --regex '^:[0-9]+$' -- $line
            set directive (string sub --start 2 -- $line)
        else
            set --append candidates $line
        end
    end
    if test (count $candidates) -gt 0
        printf '%s\n' $candidates
    else if test $directive -eq 0
        __fish_complete_path (commandline --current-token --cut-at-cursor)
    end
end

complete --command pintle --no-files --keep-order --arguments '(__pintle_complete)'
