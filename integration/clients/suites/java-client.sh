# The functional tests of RabbitMQ's Java client, and those of its client tests that want a
# broker. They look at the broker with rabbitmqctl: with that at $RABBITMQCTL on the node
# $RABBITMQ_NODENAME, or else with java/rabbitmqctl, which does it over the management API.
# Those that restart the broker are left out, because some leave things behind for the others.
exceptions="(semiDurableBindingRemoval|blockedListenerRecovery)\(.*	stops a second node, or sets the limit of memory
rejectLargeFramesDuringConnectionNegotiation\(.*	RabbitMQ before 4.1: 4096 octets before the tuning; since then 8192, as here"
restarting='restartingExpiry connectionRecoveryWithServerRestart clientNamedTransientAutoDeleteQueueAndBindingRecovery
serverNamedTransientAutoDeleteQueueAndBindingRecovery'

suite() {
    local libraries=$cache/java-client-5.0.0 tests each name
    needs java javac mvn && debian_source rabbitmq-java-client=5.0.0 && cd "$work/rabbitmq-java-client" || return
    [ -e "$libraries/complete" ] || { mvn --quiet --batch-mode --file "$here/java/pom.xml" dependency:copy-dependencies \
        -DoutputDirectory="$libraries" >&2 && touch "$libraries/complete"; } || return
    for each in $restarting; do
        sed -i "s/@Test public void $each(/@org.junit.Ignore &/" src/test/java/com/rabbitmq/client/test/functional/*.java || return
    done
    mkdir classes && javac -nowarn -d classes -cp "$libraries/*" "$here/java/Lines.java" \
        $(find src/test/java -name '*.java' | grep -v performance) 2>"$work/output" || { tail -20 "$work/output" >&2; return 1; }
    management DELETE queues/%2F/queue.ttl 2>/dev/null # which a test that was cut short leaves behind
    tests=$(sed -n 's/^[[:space:]]*\([A-Za-z0-9]*\)\.class,\{0,1\}$/\1/p' src/test/java/com/rabbitmq/client/test/functional/FunctionalTests.java)
    for each in $tests MultiThreadedChannel RpcTest SharedThreadPoolTest CloseInMainLoop QueueingConsumerTests; do
        [[ $each =~ ${pattern:-.} ]] || continue
        name=$(grep -rlE "class $each( |$)" src/test/java | head -1 | sed 's/.*src\/test\/java\///; s/\.java$//; s/\//./g; s/^java\.//')
        : >"$work/lines"
        redirected timeout 400 java -XX:TieredStopAtLevel=1 -Xmx300m -Drabbitmqctl.bin="${RABBITMQCTL:-$here/java/rabbitmqctl}" \
            -Dtest-broker.A.nodename="${RABBITMQ_NODENAME:-rabbit@localhost}" \
            -cp "classes:src/test/resources:$libraries/*" Lines "$work/lines" "$name" >"$work/output" 2>"$work/said"
        if [ $? != 0 ]; then
            echo "FAIL $name does not end" >>"$work/lines"
        fi
        grep -q '^FAIL' "$work/lines" && grep -v '^[[:space:]]*at \(java\|org\.junit\|sun\|jdk\)' "$work/said" | head -40 | sed 's/^/       /' >&2
        cat "$work/lines"
    done
}
