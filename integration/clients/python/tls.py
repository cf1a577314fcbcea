"""Speaks to the broker at $AMQPS_URL over TLS: trusts the authority in $AMQPS_DIR, and logs in
with a password and with a certificate."""

import os
import ssl

import pika

import check

DIR = os.environ["AMQPS_DIR"]


def connect(certified):
    context = ssl.create_default_context(cafile=os.path.join(DIR, "ca.pem"))
    parameters = pika.URLParameters(os.environ["AMQPS_URL"])
    if certified:
        context.load_cert_chain(os.path.join(DIR, "client.pem"), os.path.join(DIR, "client.key"))
        parameters.credentials = pika.credentials.ExternalCredentials()
    parameters.ssl_options = pika.SSLOptions(context, "localhost")
    return pika.BlockingConnection(parameters)


def main():
    producer = connect(certified=False).channel()
    producer.confirm_delivery()
    consumer = connect(certified=True).channel()
    queue = check.name("tls")
    consumer.queue_declare(queue)
    for body in ["secret", "x" * 300_000, "end"]:
        producer.basic_publish("", queue, body)
    assert check.until("end", consumer, queue) == ["secret", "x" * 300_000]

    # EXTERNAL without a certificate is not offered, and pika says so.
    parameters = pika.URLParameters(os.environ["AMQPS_URL"])
    parameters.ssl_options = pika.SSLOptions(ssl.create_default_context(cafile=os.path.join(DIR, "ca.pem")), "localhost")
    parameters.credentials = pika.credentials.ExternalCredentials()
    try:
        pika.BlockingConnection(parameters)
    except pika.exceptions.AMQPConnectionError:
        pass
    else:
        raise AssertionError("nobody was let in by a certificate that was not shown")


check.run(main)
