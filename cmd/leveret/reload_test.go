package main

import (
	"crypto/tls"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/certificates/testca"
)

// saySASL greets a broker, answers connection.start and waits until it is left.
func saySASL(t *testing.T, address, mechanism, response string) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Error(err)
	}
	if _, err := c.Write(amqp.AppendMethod([]byte(amqp.ProtocolHeader), 0, &amqp.ConnectionStartOk{Mechanism: mechanism, Response: response})); err != nil {
		t.Error(err)
	}
	if _, err := io.Copy(io.Discard, c); err != nil {
		t.Errorf("%s: got %v, want to be left", mechanism, err)
	}
}

// TestHangupReloadsCertificates is row B7.
func TestHangupReloadsCertificates(t *testing.T) {
	ca, dir := testca.New(t), t.TempDir()
	testca.WriteServer(t, dir, ca.Server())
	file := write(t, "tls: {listen: '127.0.0.1:0', management_listen: off, reload_interval: 0, cert_file: "+dir+"/tls.crt, key_file: "+dir+"/tls.key}\nlog: {format: json}\n")
	s := startServing(t, t.TempDir(), complete, "--config", file)
	next := ca.Server()
	testca.WriteServer(t, dir, next)
	s.signal(syscall.SIGHUP)
	s.until("TLS certificates were replaced, new connections get the new ones")
	c, err := tls.Dial("tcp", s.addressOf("listening for AMQP with TLS"), &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if !c.ConnectionState().PeerCertificates[0].Equal(next.Leaf) {
		t.Error("got the old certificate")
	}
	if err := os.Remove(dir + "/tls.key"); err != nil {
		t.Fatal(err)
	}
	s.signal(syscall.SIGHUP)
	s.until("TLS certificates cannot be taken from their files, those from before stay in use")

	// Where nothing else listens, that is asked whether it is well.
	only := write(t, "listen: off\ntls: {listen: '"+s.addressOf("listening for AMQP with TLS")+"', cert_file: a, key_file: b}\n")
	if out, complaint, code := runProgram(t, "healthcheck", "--config", only); code != 0 || !strings.Contains(out, "healthy") {
		t.Errorf("got %d, %s%s", code, out, complaint)
	}
	only = write(t, "listen: off\ntls: {cert_file: a, key_file: b, ca_file: c, verify: required}\n")
	if _, complaint, code := runProgram(t, "healthcheck", "--config", only); code != 1 || !strings.Contains(complaint, "wants a certificate") {
		t.Errorf("got %d, %s", code, complaint)
	}
	s.signal(syscall.SIGTERM)
	if code := s.end(); code != 0 {
		t.Errorf("got %d", code)
	}
}
