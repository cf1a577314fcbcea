package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/connection"
)

// healthTimeout is how long a broker may take to answer a health check.
const healthTimeout = 2 * time.Second

// greetingBytes is more than connection.start takes.
const greetingBytes = 8192

func healthcheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "healthcheck",
		Short: "Tell whether the broker of this configuration answers",
		Long: "Tell whether the broker of this configuration answers: it has to greet a client with\n" +
			"connection.start within two seconds, and its disk has to answer. No login is needed.\n" +
			"Alarms that only stop publishers are told and no failure. The exit code is 0 or 1.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := effective(cmd)
			if err != nil {
				return err
			}
			listener, secure, err := healthListener(c)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), healthTimeout)
			defer cancel()
			start := time.Now()
			address := reachable(listener)
			alarms, err := greet(ctx, address, secure)
			if err == nil && slices.Contains(alarms, broker.SlowDiskAlarm.String()) {
				err = fmt.Errorf("%s answered, but its disk does not: a commit has been under way for long", address)
			}
			if err != nil {
				return fmt.Errorf("unhealthy: %w", err)
			}
			told := ""
			if len(alarms) > 0 {
				told = "; publishers are stopped by an alarm: " + strings.Join(alarms, ", ")
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "healthy: %s answered in %s%s\n", address, time.Since(start).Round(10*time.Microsecond), told)
			return err
		},
	}
}

// healthListener is the listener that is asked, and how; the configuration is nil for one
// without TLS.
func healthListener(c config.Config) (address string, secure *tls.Config, err error) {
	switch {
	case len(c.Listen) > 0:
		return c.Listen[0], nil, nil
	case !c.TLS.Enabled() || len(c.TLS.Listen) == 0:
		return "", nil, errors.New("unhealthy: no AMQP listener is configured")
	case c.TLS.Verify == "required":
		return "", nil, errors.New("unhealthy, as far as can be told: every AMQP listener wants a certificate, which a health check has not; " +
			"listen on 127.0.0.1 without TLS as well")
	}
	// Nothing secret is said, and what is asked is whether somebody answers, not who.
	return c.TLS.Listen[0], &tls.Config{InsecureSkipVerify: true}, nil
}

// reachable is where to find on this machine what listens on address: an address of all
// interfaces is answered on the loopback one.
func reachable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip != nil && ip.To4() == nil {
			host = "::1"
		}
	}
	return net.JoinHostPort(host, port)
}

// greet opens a connection, waits for connection.start and returns the alarms named in it.
func greet(ctx context.Context, address string, secure *tls.Config) (alarms []string, err error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return nil, err
		}
	}
	if secure != nil {
		conn = tls.Client(conn, secure)
	}
	if _, err := io.WriteString(conn, amqp.ProtocolHeader); err != nil {
		return nil, fmt.Errorf("greet %s: %w", address, err)
	}
	answer := make([]byte, 0, greetingBytes)
	for {
		n, err := conn.Read(answer[len(answer):cap(answer)])
		answer = answer[:len(answer)+n]
		if f, size, frameErr := amqp.ParseFrame(answer, greetingBytes); frameErr != nil {
			return nil, fmt.Errorf("%s does not speak AMQP 0-9-1: %w", address, frameErr)
		} else if size > 0 {
			return checkStart(address, f)
		}
		if err != nil {
			return nil, fmt.Errorf("read from %s: %w", address, err)
		}
		if len(answer) == cap(answer) {
			return nil, fmt.Errorf("%s sent no frame in its first %d bytes", address, len(answer))
		}
	}
}

func checkStart(address string, f amqp.Frame) (alarms []string, err error) {
	if f.Type == amqp.FrameMethod && len(f.Payload) >= 4 {
		class, method := f.MethodID()
		if m, ok := amqp.NewMethod(class, method).(*amqp.ConnectionStart); ok {
			if err := m.Decode(f.Payload[4:]); err != nil {
				return nil, fmt.Errorf("%s does not speak AMQP 0-9-1: %w", address, err)
			}
			return alarmsIn(m.ServerProperties), nil
		}
	}
	return nil, fmt.Errorf("%s did not send connection.start but %s", address, f)
}

func alarmsIn(properties amqp.Table) (alarms []string) {
	v, _ := properties.Get(connection.AlarmsProperty)
	names, _ := v.(amqp.Array)
	for _, name := range names {
		if name, ok := name.(string); ok {
			alarms = append(alarms, name)
		}
	}
	return alarms
}
