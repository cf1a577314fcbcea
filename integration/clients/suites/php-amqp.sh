# The tests of PHP's amqp extension, which speaks through rabbitmq-c; both as Debian's packages
# have them (php-amqp). Each test is a program and what it prints.
exceptions="amqpexchange_publish_xdeath	RabbitMQ before 4.0 continued an x-death that a client wrote
amqpconnection_construct_with_connect_timeout	connects to an address of the Internet
amqpexchange_publish_mandatory_consume	counts objects of another PHP
bug_62354	wants the words of another PHP
package-version	wants the description of the package
amqpconnection_ssl.*	the broker has no TLS here
amqpexchange_invalid_type	RabbitMQ up to 3.12: 503 that closes the connection; since then 406, as here"

suite() {
    local each name
    needs php && debian_source php-amqp=1.11.0 && cd "$work/php-amqp" || return
    cd "$(dirname "$(find . -name tests -type d | head -1)")" || return
    php -m | grep -x amqp >/dev/null || { echo "this suite needs the extension amqp of PHP" >&2; return 1; }
    sed -i "s/5672/$port/g" tests/*.phpt && rm -f tests/*.php || return
    for each in tests/*.phpt; do
        name=$(basename "$each" .phpt)
        [[ $name =~ ${pattern:-.} ]] || continue
        timeout 60 php "$here/phpt.php" "$each" amqp.port="$port" || return
    done
}
