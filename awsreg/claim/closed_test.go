package claim

import (
	"fmt"
	"io"
	"net"
	"testing"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// TestClosed: only a connection that the other side ended counts as closed, and
// the words of the MQTT client are left out.
func TestClosed(t *testing.T) {
	// Nobody listens, and somebody who ends each connection at once.
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, gone.Close())
	ends, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer ends.Close()
	go func() {
		for {
			conn, err := ends.Accept()
			if err != nil {
				return
			}
			conn.Read(make([]byte, 64)) // CONNECT, so that the end is an end and no reset
			conn.Close()
		}
	}()
	for address, closed := range map[string]bool{gone.Addr().String(): false, ends.Addr().String(): true} {
		client := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + address).SetClientID("x").SetConnectRetry(false).SetProtocolVersion(4))
		token := client.Connect()
		<-token.Done()
		err := Cause(token.Error())
		if err == nil || Closed(err) != closed || err.Error() == token.Error().Error() {
			t.Errorf("%q became %q, closed %v, want %v", token.Error(), err, Closed(err), closed)
		}
	}
	if !Closed(fmt.Errorf("publishing: %w", io.EOF)) || Closed(nil) || Cause(nil) != nil || Cause(io.EOF) != io.EOF {
		t.Error("errors of others are not taken as they are")
	}
}
