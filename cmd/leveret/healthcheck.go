package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/amqp"
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
			"connection.start within two seconds. No login is needed. The exit code is 0 or 1.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := effective(cmd)
			if err != nil {
				return err
			}
			if len(c.Listen) == 0 {
				return errors.New("unhealthy: no AMQP listener is configured")
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), healthTimeout)
			defer cancel()
			start := time.Now()
			address := reachable(c.Listen[0])
			if err := greet(ctx, address); err != nil {
				return fmt.Errorf("unhealthy: %w", err)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "healthy: %s answered in %s\n", address, time.Since(start).Round(10*time.Microsecond))
			return err
		},
	}
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

// greet opens a connection and waits for connection.start.
func greet(ctx context.Context, address string) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	if _, err := io.WriteString(conn, amqp.ProtocolHeader); err != nil {
		return fmt.Errorf("greet %s: %w", address, err)
	}
	answer := make([]byte, 0, greetingBytes)
	for {
		n, err := conn.Read(answer[len(answer):cap(answer)])
		answer = answer[:len(answer)+n]
		if f, size, frameErr := amqp.ParseFrame(answer, greetingBytes); frameErr != nil {
			return fmt.Errorf("%s does not speak AMQP 0-9-1: %w", address, frameErr)
		} else if size > 0 {
			return checkStart(address, f)
		}
		if err != nil {
			return fmt.Errorf("read from %s: %w", address, err)
		}
		if len(answer) == cap(answer) {
			return fmt.Errorf("%s sent no frame in its first %d bytes", address, len(answer))
		}
	}
}

func checkStart(address string, f amqp.Frame) error {
	if f.Type == amqp.FrameMethod && len(f.Payload) >= 4 {
		class, method := f.MethodID()
		if _, ok := amqp.NewMethod(class, method).(*amqp.ConnectionStart); ok {
			return nil
		}
	}
	return fmt.Errorf("%s did not send connection.start but %s", address, f)
}
