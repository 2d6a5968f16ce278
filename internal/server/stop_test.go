package server

import (
	"net"
	"syscall"
	"testing"

	"mintmark/internal/ledger"
	"mintmark/issuer"
)

// TestStop sends SIGTERM while a request is inside the issuance cycle: it is
// answered, nobody else is let in, and the process ends with status 0.
func TestStop(t *testing.T) {
	for _, step := range []string{"1", "6", "9"} {
		t.Run("step "+step, func(t *testing.T) {
			dir := newState(t)
			server := startChild(t, dir)
			f := &fleet{t: t}
			server.tell(t, "hold "+step)
			client := server.client(t)
			answered := make(chan error, 1)
			go func() { answered <- f.enroll(t.Context(), client, f.next()) }()
			server.expect(t, "held "+step)
			server.cmd.Process.Signal(syscall.SIGTERM)
			eventually(t, "the listener closes", func() bool {
				c, err := net.Dial("tcp", server.est)
				if err == nil {
					c.Close()
				}
				return err != nil
			})
			select {
			case <-server.ended:
				t.Fatal("the server has ended with a request in flight")
			default:
			}
			server.tell(t, "go")
			if err := <-answered; err != nil {
				t.Fatalf("the request in flight: %v", err)
			}
			if err := server.wait(t); err != nil {
				t.Errorf("exit: %v", err)
			}
			all := f.check(dir)
			if r := all[issuer.SerialOf(f.receipts[0].certificate.SerialNumber)]; r.State != ledger.Valid {
				t.Errorf("the certificate is %s", r.State)
			}
		})
	}
}
