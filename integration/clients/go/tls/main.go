// Command tls speaks to the broker at $AMQPS_URL over TLS: it trusts the authority in
// $AMQPS_DIR, and logs in with a password and with a certificate.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"

	"github.com/leveretmq/leveret/integration/clients/go/check"
	amqp "github.com/rabbitmq/amqp091-go"
)

func main() {
	p := check.Start()
	url, dir := os.Getenv("AMQPS_URL"), os.Getenv("AMQPS_DIR")
	ca, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	p.NoError(err, "authority")
	trusted := &tls.Config{RootCAs: x509.NewCertPool()}
	p.That(trusted.RootCAs.AppendCertsFromPEM(ca), "no authority in %s", dir)
	own, err := tls.LoadX509KeyPair(filepath.Join(dir, "client.pem"), filepath.Join(dir, "client.key"))
	p.NoError(err, "certificate")
	certified := trusted.Clone()
	certified.Certificates = []tls.Certificate{own}

	byPassword, err := amqp.DialTLS(url, trusted)
	p.NoError(err, "with a password")
	byCertificate, err := amqp.DialTLS_ExternalAuth(url, certified)
	p.NoError(err, "with a certificate")
	producer, err := byPassword.Channel()
	p.NoError(err, "channel")
	p.NoError(producer.Confirm(false), "confirm mode")
	consumer, err := byCertificate.Channel()
	p.NoError(err, "channel")

	queue := p.Name("tls")
	_, err = consumer.QueueDeclare(queue, false, false, false, false, nil)
	p.NoError(err, "declare")
	deliveries, err := consumer.Consume(queue, "", true, false, false, false, nil)
	p.NoError(err, "consume")
	p.Publish(producer, "", queue, "secret")
	p.Publish(producer, "", queue, "end")
	got := p.Until("end", deliveries)
	p.That(len(got) == 1 && got[0] == "secret", "got %q", got)

	_, err = amqp.Dial("amqp" + url[len("amqps"):])
	p.That(err != nil, "without TLS the broker answers where TLS is spoken")
	_, err = amqp.DialTLS(url, &tls.Config{RootCAs: x509.NewCertPool()})
	p.That(err != nil, "a broker is trusted that nobody vouches for")
	p.Done()
}
