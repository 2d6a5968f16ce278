package dpssim

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// Bounds of a connection of MQTT.
const (
	mqttHandshake = 10 * time.Second // for TLS, and then for CONNECT
	mqttIdle      = 20 * time.Minute // for a client that asks for no keep-alive, or for a longer one
	mqttWrite     = 10 * time.Second
	maxPacket     = maxDeviceBody + 4<<10
)

// Return codes of CONNACK (MQTT 3.1.1, section 3.2.2.3).
const (
	mqttAccepted     = 0
	mqttBadVersion   = 1
	mqttBadClientID  = 2
	mqttBadUsername  = 4
	mqttUnauthorized = 5
)

// acceptMQTT takes connections of MQTT until the listener is closed.
func (s *Sim) acceptMQTT() {
	config := s.tls.deviceConfig()
	for {
		raw, err := s.mqtt.Accept()
		if err != nil {
			select {
			case <-s.done:
				return
			default:
			}
			if errors.Is(err, net.ErrClosed) {
				return
			}
			s.cfg.Logger.Warn("accepting a device", "err", err)
			time.Sleep(10 * time.Millisecond) // out of file descriptors, most likely
			continue
		}
		if !s.track(raw) {
			raw.Close()
			continue
		}
		go func() {
			defer s.untrack(raw)
			defer raw.Close()
			if err := s.serveMQTT(raw, config); err != nil && !errors.Is(err, io.EOF) {
				s.cfg.Logger.Info("connection of a device ended", "remote", raw.RemoteAddr(), "err", err)
			}
		}()
	}
}

// mqttConn is one connection. One goroutine reads it, acts and writes.
type mqttConn struct {
	sim  *Sim
	conn *tls.Conn
	r    *bufio.Reader
	who  deviceCall
	idle time.Duration

	subscribed bool
	qos        byte   // granted to the answers
	next       uint16 // packet id of the next answer
}

// serveMQTT serves one connection. DPS is no broker: it keeps nothing between
// connections, and has one filter to subscribe to and two topics to publish to
// (https://learn.microsoft.com/azure/iot/iot-mqtt-connect-to-iot-dps).
func (s *Sim) serveMQTT(raw net.Conn, config *tls.Config) error {
	conn := tls.Server(raw, config)
	raw.SetDeadline(time.Now().Add(mqttHandshake))
	if err := conn.Handshake(); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	m := &mqttConn{sim: s, conn: conn, r: bufio.NewReader(conn), idle: mqttHandshake, next: 1}
	if err := m.connect(conn.ConnectionState()); err != nil {
		return err
	}
	for {
		p, body, err := m.read()
		if err != nil {
			return err
		}
		switch p.FixedHeader.Type {
		case packets.Subscribe:
			err = m.subscribe(p, body)
		case packets.Unsubscribe:
			err = m.unsubscribe(p, body)
		case packets.Publish:
			err = m.publish(p, body)
		case packets.Puback:
		case packets.Pingreq:
			err = m.write(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingresp}})
		case packets.Disconnect:
			return nil
		default:
			err = fmt.Errorf("packet of type %d", p.FixedHeader.Type)
		}
		if err != nil {
			return err
		}
	}
}

// read reads one packet; its body is the packet without its fixed header.
func (m *mqttConn) read() (*packets.Packet, []byte, error) {
	m.conn.SetReadDeadline(time.Now().Add(m.idle))
	return readPacket(m.r)
}

func readPacket(r *bufio.Reader) (*packets.Packet, []byte, error) {
	first, err := r.ReadByte()
	if err != nil {
		return nil, nil, err
	}
	p := &packets.Packet{ProtocolVersion: 4}
	if err := p.FixedHeader.Decode(first); err != nil {
		return nil, nil, err
	}
	n, _, err := packets.DecodeLength(r)
	if err != nil {
		return nil, nil, err
	}
	if n > maxPacket {
		return nil, nil, fmt.Errorf("a packet of %d bytes is more than %d", n, maxPacket)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, nil, err
	}
	p.FixedHeader.Remaining = n
	return p, body, nil
}

// connect takes CONNECT: client id and user name must name the same registration.
// Whether Azure refuses a device's chain here or when it registers is not documented
// for X.509; a shared access signature that is wrong is refused when it registers
// (MicrosoftDocs/azure-docs#43157), and so is a chain here.
func (m *mqttConn) connect(state tls.ConnectionState) error {
	p, body, err := m.read()
	if err != nil {
		return err
	}
	if p.FixedHeader.Type != packets.Connect {
		return errors.New("the first packet is not CONNECT")
	}
	if err := p.ConnectDecode(body); err != nil {
		return fmt.Errorf("reading CONNECT: %w", err)
	}
	refuse := func(code byte, why string) error {
		m.sim.note("mqtt.refused", why, "clientId", p.Connect.ClientIdentifier, "username", string(p.Connect.Username))
		m.write(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connack}, ReasonCode: code})
		return errors.New(why)
	}
	if p.ProtocolVersion != 4 {
		return refuse(mqttBadVersion, "DPS speaks MQTT 3.1.1 only")
	}
	if code := p.ConnectValidate(); code != packets.CodeSuccess {
		return fmt.Errorf("reading CONNECT: %w", code)
	}
	who, err := parseUsername(string(p.Connect.Username))
	switch {
	case err != nil:
		return refuse(mqttBadUsername, err.Error())
	case p.Connect.ClientIdentifier != who.registrationID:
		return refuse(mqttBadClientID, "the client id is not the registration id of the user name")
	case p.Connect.PasswordFlag:
		return refuse(mqttUnauthorized, "a password is for symmetric keys, which the simulator does not have; X.509 needs none")
	case p.Connect.WillFlag:
		return refuse(mqttUnauthorized, "a will is published to nobody: DPS is no broker")
	}
	m.who = who
	m.who.chain = state.PeerCertificates
	m.idle = mqttIdle
	if k := time.Duration(p.Connect.Keepalive) * time.Second; k > 0 {
		m.idle = min(m.idle, k+k/2) // MQTT 3.1.1, section 3.1.2.10
	}
	return m.write(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connack}, ReasonCode: mqttAccepted})
}

// subscribe grants the filter of the answers, with at most QoS 1, and fails every other.
func (m *mqttConn) subscribe(p *packets.Packet, body []byte) error {
	if err := p.SubscribeDecode(body); err != nil {
		return fmt.Errorf("reading SUBSCRIBE: %w", err)
	}
	if code := p.SubscribeValidate(); code != packets.CodeSuccess {
		return fmt.Errorf("reading SUBSCRIBE: %w", code)
	}
	var granted []byte
	for _, f := range p.Filters {
		if f.Filter != answerFilter {
			m.sim.note("mqtt.refused", "DPS knows the filter "+answerFilter+" only", "filter", f.Filter, "registrationId", m.who.registrationID)
			granted = append(granted, 0x80) // MQTT 3.1.1, section 3.9.3
			continue
		}
		m.subscribed, m.qos = true, min(f.Qos, 1)
		granted = append(granted, m.qos)
	}
	return m.write(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Suback}, PacketID: p.PacketID, ReasonCodes: granted})
}

func (m *mqttConn) unsubscribe(p *packets.Packet, body []byte) error {
	if err := p.UnsubscribeDecode(body); err != nil {
		return fmt.Errorf("reading UNSUBSCRIBE: %w", err)
	}
	for _, f := range p.Filters {
		if f.Filter == answerFilter {
			m.subscribed = false
		}
	}
	return m.write(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Unsuback}, PacketID: p.PacketID})
}

// publish takes a request and sends its answer. Whoever publishes to another topic, or
// with QoS 2, is disconnected: MQTT 3.1.1 has no other refusal.
func (m *mqttConn) publish(p *packets.Packet, body []byte) error {
	if err := p.PublishDecode(body); err != nil {
		return fmt.Errorf("reading PUBLISH: %w", err)
	}
	if p.FixedHeader.Qos > 1 {
		m.sim.note("mqtt.refused", "a device publishes with QoS 0 or 1", "registrationId", m.who.registrationID)
		return errors.New("PUBLISH with QoS 2")
	}
	request, err := parseTopic(p.TopicName)
	if err != nil {
		m.sim.note("mqtt.refused", "topic: "+err.Error(), "topic", p.TopicName, "registrationId", m.who.registrationID)
		return fmt.Errorf("topic %q: %w", clip(p.TopicName, 128), err)
	}
	if p.FixedHeader.Qos == 1 {
		if err := m.write(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Puback}, PacketID: p.PacketID}); err != nil {
			return err
		}
	}
	a, cut := m.sim.undergo(request.op, m.sim.dpsError, func() answer {
		a, err := m.sim.answerDevice(request.op, m.who, request.operation, p.Payload)
		if err != nil {
			return m.sim.deny(err)
		}
		return a
	})
	if cut {
		return errors.New("an injected fault cuts the connection")
	}
	if !m.subscribed {
		m.sim.note("mqtt.unheard", "the device has not subscribed to "+answerFilter, "registrationId", m.who.registrationID)
		return nil
	}
	text, err := a.encode()
	if err != nil {
		return err
	}
	retryAfter := ""
	for _, h := range a.header {
		if strings.EqualFold(h[0], "Retry-After") {
			retryAfter = h[1]
		}
	}
	out := packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: m.qos},
		TopicName:   request.topic(a.status, retryAfter), Payload: text, PacketID: m.next,
	}
	if m.next++; m.next == 0 {
		m.next = 1
	}
	return m.write(out)
}

// write sends one packet.
func (m *mqttConn) write(p packets.Packet) error {
	p.ProtocolVersion = 4
	var b bytes.Buffer
	var err error
	switch p.FixedHeader.Type {
	case packets.Connack:
		err = p.ConnackEncode(&b)
	case packets.Suback:
		err = p.SubackEncode(&b)
	case packets.Unsuback:
		err = p.UnsubackEncode(&b)
	case packets.Puback:
		err = p.PubackEncode(&b)
	case packets.Pingresp:
		err = p.PingrespEncode(&b)
	case packets.Publish:
		err = p.PublishEncode(&b)
	}
	if err != nil {
		return fmt.Errorf("encoding a packet: %w", err)
	}
	m.conn.SetWriteDeadline(time.Now().Add(mqttWrite))
	_, err = m.conn.Write(b.Bytes())
	return err
}
