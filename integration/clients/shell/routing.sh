#!/usr/bin/env bash
# Picks messages by their routing key, exactly with a direct exchange and by pattern with a
# topic exchange, where * is one word and # is any number of words.

if [ "${1:-}" = handle ]; then
    cat >>"$2"
    echo >>"$2"
    exit 0
fi

. "$(dirname "$0")/check.sh"

# subscribe NAME EXCHANGE KEY notes in $dir/NAME what comes. Each subscription has its queue,
# bound besides by the tool's own wish to bind what it consumes.
subscribe() {
    : >"$dir/$1"
    consume -q "clients.shell.$1.$run_id" -x -e "$2" -r "$3" -- "$0" handle "$dir/$1"
    told() {
        publish -r "clients.shell.$1.$run_id" -b hello
        [ -s "$dir/$1" ]
    }
    await "the subscription to $3" told "$1"
}

# The exchanges are everybody's, so our keys begin with a word that is ours.
own=clients-$run_id
subscribe errors amq.direct "$own.error"
subscribe infos amq.direct "$own.info"
subscribe all amq.topic "$own.#"
subscribe orange amq.topic "$own.*.orange.*"
subscribe lazy amq.topic "$own.lazy.#"

for key in error info debug error.disk error; do
    publish -e amq.direct -r "$own.$key" -b "$key"
done
keys=(quick.orange.hare lazy.orange.fox lazy.brown.hare lazy quick.orange.new.hare)
for key in "${keys[@]}"; do
    publish -e amq.topic -r "$own.$key" -b "$key"
done

# What came before the end, the first words aside, is all that comes.
finds() {
    local name=$1
    shift
    publish -r "clients.shell.$name.$run_id" -b end
    await "the end of $name" grep -qx end "$dir/$name"
    expect "what $name got" "$(printf '%s\n' "$@")" "$(grep -vx -e hello -e end "$dir/$name")"
}
finds errors error error
finds infos info
finds all "${keys[@]}"
finds orange quick.orange.hare lazy.orange.fox
finds lazy lazy.orange.fox lazy.brown.hare lazy
