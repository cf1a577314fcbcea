# rabbit-hole's tests (Go), a client of the management API. Its waits are short for a RabbitMQ
# that tells of connections every five seconds.
exceptions=".*federation-upstream.* (returns the list of upstreams|returns the upstream|creates the upstream|updates the upstream|deletes the upstream)	wants federation
.*federation-links.*	wants federation
.*/api/parameters.* (creates the parameter|returns the list of parameters)	wants federation
.*[sS]hovel.*	wants shovels
.*GET /queues.* with arguments .*	wants samples of half an hour
.*lists deprecated feature flags	wants features that are deprecated
.*A default queue type is set.*	RabbitMQ since 3.11"

suite() {
    local results=$work/results.xml
    go_module github.com/michaelklishin/rabbit-hole/v3@v3.1.0 && cd "$work/module" || return
    user_of policymaker policymaker policymaker && may_everything policymaker %2F && may_everything guest rabbit%2Fhole || return
    sed -i "s/15672/$management_port/g; s/\([^0-9]\)5672/\1$port/g" rabbithole_test.go health_checks_test.go || return
    GOFLAGS=-mod=mod go test -c -o suite.test . >&2 || return
    timeout 1200 ./suite.test -test.timeout 20m -ginkgo.no-color -ginkgo.seed 1 -ginkgo.junit-report "$results" ${pattern:+-ginkgo.focus "$pattern"} >"$work/output" 2>&1
    junit_lines "$results" || tail -30 "$work/output" >&2
}
