package server

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The hostile clients run in a process of their own: among thousands of their
// goroutines, an honest client of the same process would wait for its turn on the
// processor and not for the server.
const attackEnv = "SERVER_TEST_ATTACK"

const (
	bulkClients = 1000 // send bodies of 1 GB as fast as the server takes them
	slowClients = 2000 // send a byte per second
)

// attackers are clients that begin again whenever the server ends a connection.
type attackers struct {
	Connections atomic.Int64
	Bytes       atomic.Int64
	Open        atomic.Int64

	address, credential string
}

// attack runs until standard input ends. Every line on it is answered by one of
// JSON with the figures.
func attack(arguments string) error {
	address, credential, _ := strings.Cut(arguments, " ")
	a := &attackers{address: address, credential: credential}
	ctx, stop := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	for i := range bulkClients {
		wait.Go(func() { a.run(ctx, i, []func(net.Conn){a.bulk, a.chunked}[i%2]) })
	}
	for i := range slowClients {
		wait.Go(func() { a.run(ctx, bulkClients+i, []func(net.Conn){a.slowHandshake, a.slowHeader, a.slowBody}[i%3]) })
	}
	buffer := make([]byte, 64)
	for {
		if _, err := os.Stdin.Read(buffer); err != nil {
			break
		}
		json.NewEncoder(os.Stdout).Encode(map[string]int64{"Connections": a.Connections.Load(), "Bytes": a.Bytes.Load(), "Open": a.Open.Load()})
	}
	stop()
	wait.Wait()
	return nil
}

// run connects from an address of its own, again and again.
func (a *attackers) run(ctx context.Context, i int, f func(net.Conn)) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 16, byte(i>>8), byte(i))}}
	for ctx.Err() == nil {
		conn, err := dialer.DialContext(ctx, "tcp", a.address)
		if err != nil {
			time.Sleep(10 * time.Millisecond) // no port or no server: not a loop that only fails
			continue
		}
		a.Connections.Add(1)
		a.Open.Add(1)
		stop := context.AfterFunc(ctx, func() { conn.Close() })
		f(conn)
		stop()
		conn.Close()
		a.Open.Add(-1)
	}
}

// secure is the TLS connection of a client that trusts anyone.
func (a *attackers) secure(conn net.Conn) net.Conn {
	return tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
}

const attackHeader = "POST /.well-known/est/simpleenroll HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/pkcs10\r\nAuthorization: Basic %s\r\n"

func (a *attackers) bulk(conn net.Conn) {
	a.pour(a.secure(conn), "Content-Length: 1073741824\r\n\r\n", "")
}

func (a *attackers) chunked(conn net.Conn) {
	a.pour(a.secure(conn), "Transfer-Encoding: chunked\r\n\r\n", "4000\r\n")
}

// pour sends 1 GB, or as much as the server takes.
func (a *attackers) pour(conn net.Conn, header, chunk string) {
	if _, err := fmt.Fprintf(conn, attackHeader+header, a.credential); err != nil {
		return
	}
	block := []byte(chunk + strings.Repeat("A", 0x4000))
	if chunk != "" {
		block = append(block, "\r\n"...)
	}
	for sent := 0; sent < 1<<30; sent += len(block) {
		n, err := conn.Write(block)
		a.Bytes.Add(int64(n))
		if err != nil {
			return
		}
	}
}

// drip sends a byte per second until the server ends the connection.
func (a *attackers) drip(conn net.Conn, data string) {
	ended := make(chan struct{})
	go func() {
		io.Copy(io.Discard, conn)
		close(ended)
	}()
	for i := range len(data) {
		if _, err := io.WriteString(conn, data[i:i+1]); err != nil {
			break
		}
		a.Bytes.Add(1)
		select {
		case <-ended:
		case <-time.After(time.Second):
			continue
		}
		break
	}
	conn.Close()
	<-ended
}

// slowHandshake begins a ClientHello of 512 bytes.
func (a *attackers) slowHandshake(conn net.Conn) {
	a.drip(conn, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"+strings.Repeat("r", 501))
}

func (a *attackers) slowHeader(conn net.Conn) {
	a.drip(a.secure(conn), fmt.Sprintf(attackHeader, a.credential)+strings.Repeat("X-A: b\r\n", 1000))
}

func (a *attackers) slowBody(conn net.Conn) {
	secure := a.secure(conn)
	if _, err := fmt.Fprintf(secure, attackHeader+"Content-Length: 1000\r\n\r\n", a.credential); err == nil {
		a.drip(secure, strings.Repeat("A", 1000))
	}
}
