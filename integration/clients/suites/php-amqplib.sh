# php-amqplib's functional tests (PHP), with Debian's phpunit. Those that want a proxy in front
# of the broker skip themselves.
exceptions=".*ChannelWaitTest\.should_wait_until_timeout_after_signal	uses a variable that is not there
.*ConnectionAuthTest\.plain_auth_passwordless_must_fail	wants a client of HTTP that is not there
.*SSLConnectionTest.*	the broker has no TLS here"

suite() {
    needs php phpunit && debian_source php-amqplib=3.7.3 && cd "$work/php-amqplib" || return
    mkdir -p vendor && cat >vendor/autoload.php <<'EOF' || return
<?php
spl_autoload_register(static function (string $class): void {
    foreach (['PhpAmqpLib\\Tests\\' => 'tests/', 'PhpAmqpLib\\' => 'PhpAmqpLib/'] as $prefix => $directory) {
        $file = __DIR__ . '/../' . $directory . str_replace('\\', '/', substr($class, strlen($prefix))) . '.php';
        if (strpos($class, $prefix) === 0 && is_file($file)) {
            require $file;
            return;
        }
    }
});
EOF
    TEST_RABBITMQ_HOST=127.0.0.1 TEST_RABBITMQ_PORT=$port timeout 900 phpunit --no-configuration --bootstrap tests/bootstrap.php \
        --log-junit "$work/results.xml" ${pattern:+--filter "$pattern"} tests/Functional >"$work/output" 2>&1
    junit_lines "$work/results.xml" || tail -30 "$work/output" >&2
}
