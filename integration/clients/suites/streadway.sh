# The integration tests of streadway/amqp (Go), which amqp091-go grew out of and many programs
# still have.
suite() {
    go_module github.com/streadway/amqp@v1.1.0 && cd "$work/module" || return
    go test -c -tags integration -o suite.test . >&2 || return
    go_lines $(grep -l '^//go:build integration\|^// +build integration' ./*_test.go)
}
