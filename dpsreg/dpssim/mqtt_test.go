package dpssim

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// TestMQTTWithTheVendorsClient registers with azure-iot-provisioning-device over MQTT.
func TestMQTTWithTheVendorsClient(t *testing.T) { vendorRegisters(t, "mqtt") }

// TestMQTTWithPaho registers with the MQTT client of Eclipse: the topics by hand.
func TestMQTTWithPaho(t *testing.T) {
	p := newPlant(t)
	p.group("line-a", nil)
	d := newParty(t, "press-1", false, p.line)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(p.sim.RootPEM())
	options := mqtt.NewClientOptions().AddBroker("tls://" + p.sim.MQTTAddr()).SetProtocolVersion(4).SetAutoReconnect(false).
		SetClientID("press-1").SetUsername(p.sim.Config().IDScope + "/registrations/press-1/api-version=2019-03-31").
		SetTLSConfig(&tls.Config{RootCAs: pool, ServerName: globalHost, Certificates: []tls.Certificate{*d.tls(p.line.cert, p.root.cert)}})
	answers := make(chan mqtt.Message, 10)
	client := mqtt.NewClient(options)
	done := func(token mqtt.Token) {
		t.Helper()
		if !token.WaitTimeout(time.Minute) || token.Error() != nil {
			t.Fatalf("%v; %+v", token.Error(), p.events("mqtt.refused"))
		}
	}
	done(client.Connect())
	defer client.Disconnect(0)
	done(client.Subscribe(answerFilter, 2, func(_ mqtt.Client, m mqtt.Message) { answers <- m }))
	ask := func(topic, payload string) (string, map[string]any) {
		t.Helper()
		done(client.Publish(topic, 1, false, payload))
		select {
		case m := <-answers:
			if m.Qos() != 1 {
				t.Errorf("the answer has QoS %d", m.Qos())
			}
			return m.Topic(), parseJSON(t, string(m.Payload()))
		case <-time.After(time.Minute):
			t.Fatalf("no answer to %s", topic)
			return "", nil
		}
	}
	topic, answer := ask(registerTopic+"?$rid=1", `{"registrationId":"press-1"}`)
	operation, _ := answer["operationId"].(string)
	if topic != "$dps/registrations/res/202/?$rid=1&retry-after=1" || answer["status"] != "assigning" || operation == "" {
		t.Fatalf("register: %s %v", topic, answer)
	}
	topic, answer = ask(operationTopic+"?$rid=2&operationId="+operation, " ")
	if topic != "$dps/registrations/res/202/?$rid=2&retry-after=1" || answer["status"] != "assigning" {
		t.Fatalf("first poll: %s %v", topic, answer)
	}
	topic, answer = ask(operationTopic+"?$rid=3&operationId="+operation, " ")
	if topic != "$dps/registrations/res/200/?$rid=3" || answer["status"] != "assigned" {
		t.Fatalf("second poll: %s %v", topic, answer)
	}
	topic, answer = ask(operationTopic+"?$rid=4&operationId=4.1.2", " ")
	if topic != "$dps/registrations/res/404/?$rid=4" || answer["errorCode"] != float64(codeNoOperation) {
		t.Fatalf("another operation: %s %v", topic, answer)
	}
}

// TestMQTTWithMosquitto registers with mosquitto_pub, which does not listen for the
// answer: the device is registered all the same.
func TestMQTTWithMosquitto(t *testing.T) {
	p := newPlant(t, func(c *Config) { c.Assigning = -1 })
	p.group("line-a", nil)
	chain, key := newParty(t, "press-1", false, p.line).files(t, t.TempDir())
	host, port, _ := net.SplitHostPort(p.sim.MQTTAddr())
	out, err := exec.CommandContext(t.Context(), tool(t, "mosquitto_pub"), "-V", "mqttv311", "-h", host, "-p", port, "--cafile", filepath.Join(p.sim.Config().StateDir, "root.pem"),
		"--cert", chain, "--key", key, "-i", "press-1", "-u", p.sim.Config().IDScope+"/registrations/press-1/api-version=2019-03-31",
		"-q", "1", "-t", registerTopic+"?$rid=1", "-m", `{"registrationId":"press-1"}`).CombinedOutput()
	if err != nil {
		t.Fatalf("mosquitto_pub: %v: %s %+v", err, out, p.events("mqtt.refused"))
	}
	// The acknowledgement goes out before the work is done: the event says that it is.
	for deadline := time.Now().Add(time.Minute); len(p.events("mqtt.unheard")) == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the event mqtt.unheard does not come")
		}
	}
	if r := p.must("GET", "/registrations/press-1", ""); r.body["status"] != "assigned" {
		t.Errorf("the registration: %s", r.text)
	}
}

// raw is a connection that sends packets byte by byte.
type raw struct {
	t    *testing.T
	conn *tls.Conn
}

func (p *plant) dialMQTT(t *testing.T, d *party, above ...*x509.Certificate) *raw {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(p.sim.RootPEM())
	conn, err := tls.Dial("tcp", p.sim.MQTTAddr(), &tls.Config{RootCAs: pool, ServerName: globalHost, Certificates: []tls.Certificate{*d.tls(above...)}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(time.Minute))
	return &raw{t, conn}
}

// text is a string as MQTT writes it.
func text(s string) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...) }

// packet is a packet with its fixed header.
func packet(first byte, parts ...[]byte) []byte {
	body := bytes.Join(parts, nil)
	out := []byte{first}
	n := len(body)
	for {
		b := byte(n % 128)
		if n /= 128; n > 0 {
			out = append(out, b|0x80)
			continue
		}
		return append(append(out, b), body...)
	}
}

// connectPacket is CONNECT with these flags, besides that of the user name.
func connectPacket(version, flags byte, clientID, username string, more ...[]byte) []byte {
	parts := [][]byte{text("MQTT"), {version, flags | 0x80}, {0, 60}}
	if version == 5 {
		parts = append(parts, []byte{0})
	}
	return packet(0x10, append(append(parts, text(clientID), text(username)), more...)...)
}

func (r *raw) send(b []byte) {
	r.t.Helper()
	if _, err := r.conn.Write(b); err != nil {
		r.t.Fatal(err)
	}
}

// next reads one packet of at most 127 bytes; nil once the connection is closed.
func (r *raw) next() []byte {
	r.t.Helper()
	head := make([]byte, 2)
	if _, err := io.ReadFull(r.conn, head); err != nil {
		if e, ok := err.(net.Error); ok && e.Timeout() {
			r.t.Fatal("nothing comes, and the connection stays open")
		}
		return nil
	}
	body := make([]byte, head[1])
	if _, err := io.ReadFull(r.conn, body); err != nil {
		r.t.Fatal(err)
	}
	return append(head, body...)
}

func (r *raw) want(what string, b ...byte) {
	r.t.Helper()
	if got := r.next(); !bytes.Equal(got, b) {
		r.t.Errorf("%s: %x, want %x", what, got, b)
	}
}

// TestMQTTRefusals has what DPS does not do, being no broker.
func TestMQTTRefusals(t *testing.T) {
	p := newPlant(t)
	p.group("line-a", nil)
	d := newParty(t, "press-1", false, p.line)
	user := p.sim.Config().IDScope + "/registrations/press-1/api-version=2019-03-31"
	for name, c := range map[string]struct {
		packet []byte
		code   byte
	}{
		"MQTT 5":                        {connectPacket(5, 2, "press-1", user), mqttBadVersion},
		"another client id":             {connectPacket(4, 2, "press-2", user), mqttBadClientID},
		"no api-version":                {connectPacket(4, 2, "press-1", strings.TrimSuffix(user, "/api-version=2019-03-31")), mqttBadUsername},
		"unknown api-version":           {connectPacket(4, 2, "press-1", strings.Replace(user, "2019", "2009", 1)), mqttBadUsername},
		"a password":                    {connectPacket(4, 2|0x40, "press-1", user, text("SharedAccessSignature sr=a")), mqttUnauthorized},
		"a will":                        {packet(0x10, text("MQTT"), []byte{4, 0x86, 0, 60}, text("press-1"), text("gone"), text("true"), text(user)), mqttUnauthorized},
		"a user name that is too long":  {connectPacket(4, 2, "press-1", user+"&ClientVersion="+strings.Repeat("a", maxMQTTUsername)), mqttBadUsername},
		"properties that are no values": {connectPacket(4, 2, "press-1", user+"&a=%zz"), mqttBadUsername},
	} {
		conn := p.dialMQTT(t, d)
		conn.send(c.packet)
		if got := conn.next(); !bytes.Equal(got, []byte{0x20, 2, 0, c.code}) {
			t.Errorf("%s: CONNACK %x, want code %d", name, got, c.code)
		}
		if conn.next() != nil {
			t.Errorf("%s: the connection stays open", name)
		}
	}
	open := func() *raw {
		t.Helper()
		c := p.dialMQTT(t, d, p.line.cert, p.root.cert)
		c.send(connectPacket(4, 0, "press-1", user+"&ClientVersion=test%2F1"))
		// There is never a session from before, whatever the flag CleanSession says.
		c.want("CONNACK", 0x20, 2, 0, 0)
		return c
	}
	c := open()
	c.send(packet(0x82, []byte{0, 1}, text("#"), []byte{0}, text("$dps/registrations/res/202/#"), []byte{1}, text(answerFilter), []byte{2}))
	c.want("SUBACK", 0x90, 5, 0, 1, 0x80, 0x80, 1)
	c.send([]byte{0xc0, 0})
	c.want("PINGRESP", 0xd0, 0)
	c.send(packet(0xa2, []byte{0, 2}, text(answerFilter)))
	c.want("UNSUBACK", 0xb0, 2, 0, 2)
	for name, b := range map[string][]byte{
		"another topic":     packet(0x30, text("devices/press-1/messages/events/"), []byte("{}")),
		"no request id":     packet(0x30, text(registerTopic), []byte("{}")),
		"an empty one":      packet(0x30, text(registerTopic+"?$rid="), []byte("{}")),
		"another property":  packet(0x30, text(registerTopic+"?$rid=1&a=b"), []byte("{}")),
		"no operation":      packet(0x30, text(operationTopic+"?$rid=1"), []byte("{}")),
		"QoS 2":             packet(0x34, text(registerTopic+"?$rid=1"), []byte{0, 3}, []byte("{}")),
		"a second CONNECT":  connectPacket(4, 2, "press-1", user),
		"a packet too long": {0x30, 0xff, 0xff, 0x7f},
	} {
		c := open()
		c.send(b)
		if got := c.next(); got != nil {
			t.Errorf("%s: %x, want the end of the connection", name, got)
		}
	}
	if got := p.sim.Calls(); len(got) != 1 {
		t.Errorf("calls: %v, want that of the group only", got)
	}
	if len(p.events("mqtt.refused")) == 0 {
		t.Error("no refusal is in the event log")
	}
}

// TestMQTTAnswers reads refusals of a device over MQTT: the status is in the topic.
func TestMQTTAnswers(t *testing.T) {
	p := newPlant(t)
	p.group("line-a", object{"provisioningStatus": "disabled"})
	d := newParty(t, "press-1", false, p.line)
	c := p.dialMQTT(t, d, p.line.cert, p.root.cert)
	c.send(connectPacket(4, 2, "press-1", p.sim.Config().IDScope+"/registrations/press-1/api-version=2019-03-31"))
	c.want("CONNACK", 0x20, 2, 0, 0)
	c.send(packet(0x82, []byte{0, 1}, text(answerFilter), []byte{0}))
	c.want("SUBACK", 0x90, 3, 0, 1, 0)
	read := func() string {
		t.Helper()
		head := make([]byte, 1)
		if _, err := io.ReadFull(c.conn, head); err != nil {
			t.Fatal(err)
		}
		n, err := binary.ReadUvarint(oneByte{c.conn})
		if err != nil {
			t.Fatal(err)
		}
		body := make([]byte, n)
		if _, err := io.ReadFull(c.conn, body); err != nil {
			t.Fatal(err)
		}
		return string(body[2:])
	}
	c.send(packet(0x30, text(registerTopic+"?$rid=r-1"), []byte(`{"registrationId":"press-1"}`)))
	if got := read(); !strings.HasPrefix(got, `$dps/registrations/res/401/?$rid=r-1{`) || !strings.Contains(got, `"errorCode":401002`) || !strings.Contains(got, `"message":"Unauthorized"`) {
		t.Errorf("a disabled group: %s", got)
	}
	p.sim.Inject(Fault{Operation: "devices.register", Times: 1, Status: 429, Code: 429000, RetryAfter: 7})
	c.send(packet(0x30, text(registerTopic+"?$rid=r-2"), []byte(`{}`)))
	if got := read(); !strings.HasPrefix(got, `$dps/registrations/res/429/?$rid=r-2&retry-after=7{`) {
		t.Errorf("an injected 429: %s", got)
	}
	p.sim.Inject(Fault{Operation: "devices.register", Times: 1})
	c.send(packet(0x30, text(registerTopic+"?$rid=r-3"), []byte(`{}`)))
	if got := c.next(); got != nil {
		t.Errorf("an injected cut: %x", got)
	}
}

// oneByte reads byte by byte, so that nothing behind is taken.
type oneByte struct{ io.Reader }

func (o oneByte) ReadByte() (byte, error) {
	var b [1]byte
	_, err := io.ReadFull(o.Reader, b[:])
	return b[0], err
}

// TestMQTTSpeaksTLS12 refuses the handshake of TLS 1.3.
func TestMQTTSpeaksTLS12(t *testing.T) {
	p := newPlant(t)
	for version, want := range map[uint16]bool{tls.VersionTLS12: true, tls.VersionTLS13: false} {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(p.sim.RootPEM())
		conn, err := tls.Dial("tcp", p.sim.MQTTAddr(), &tls.Config{RootCAs: pool, ServerName: globalHost, MinVersion: version, MaxVersion: version})
		if (err == nil) != want {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
		if err == nil {
			conn.Close()
		}
	}
}

// TestCloseEndsConnections closes the simulator under devices that are connected.
func TestCloseEndsConnections(t *testing.T) {
	p := newPlant(t)
	d := newParty(t, "press-1", false, p.line)
	var all []*raw
	for range 5 {
		c := p.dialMQTT(t, d)
		c.send(connectPacket(4, 2, "press-1", p.sim.Config().IDScope+"/registrations/press-1/api-version=2019-03-31"))
		c.want("CONNACK", 0x20, 2, 0, 0)
		all = append(all, c)
	}
	if err := p.sim.Close(); err != nil {
		t.Error(err)
	}
	for i, c := range all {
		if got := c.next(); got != nil {
			t.Errorf("connection %d: %x", i, got)
		}
	}
	if _, err := net.Dial("tcp", p.sim.MQTTAddr()); err == nil {
		t.Error("the port is still open")
	}
}
