package awssim

import (
	"log/slog"
	"strings"
	"sync"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// Limits of the message broker (AWS General Reference, AWS IoT Core message broker
// and protocol limits), except maxRetained, which is the simulator's own.
const (
	maxMessage  = 128 << 10
	maxTopic    = 256
	maxSlashes  = 7
	maxInflight = 100
	maxRetained = 10000
)

// denied marks a topic filter that no policy allows. A filter cannot contain NUL
// (MQTT 3.1.1, section 1.5.3), so no device can send the mark itself.
const denied = "\x00denied/"

// startBroker makes the MQTT server of a world. Connections are handed to it one
// by one, so it has no listeners of its own.
func (w *world) startBroker() error {
	caps := mqtt.NewDefaultServerCapabilities()
	caps.MaximumClients = maxConnections
	caps.MaximumClientWritesPending = 1024
	caps.MaximumInflight = maxInflight
	caps.ReceiveMaximum = maxInflight
	caps.MaximumPacketSize = maxMessage + 1024 // the packet's own header
	caps.MaximumSessionExpiryInterval = 3600
	caps.TopicAliasMaximum = 8
	caps.MinimumProtocolVersion = 4 // MQTT 3.1.1
	caps.MaximumQos = 1             // AWS IoT developer guide, mqtt: QoS 2 is not there
	w.broker = mqtt.New(&mqtt.Options{
		Capabilities:           caps,
		Logger:                 slog.New(slog.DiscardHandler),
		SysTopicResendInterval: 24 * 3600,
	})
	if err := w.broker.AddHook(&hook{w: w}, nil); err != nil {
		return err
	}
	w.inline = w.broker.NewClient(nil, "local", "", true)
	return w.broker.Serve()
}

// send delivers a message of AWS itself to the subscribers.
func (w *world) send(topic string, payload []byte, qos byte) error {
	return w.sendRetained(topic, payload, qos, false)
}

// sendRetained is send for a message that may be retained.
func (w *world) sendRetained(topic string, payload []byte, qos byte, retain bool) error {
	return w.broker.InjectPacket(w.inline, packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: qos, Retain: retain},
		TopicName:   topic,
		Payload:     payload,
		PacketID:    uint16(qos), // an inline client needs one for qos 1 and uses it for nothing
	})
}

// hook puts AWS's rules into the MQTT server.
type hook struct {
	mqtt.HookBase
	w *world
}

func (h *hook) ID() string { return "aws-iot" }

func (h *hook) Provides(b byte) bool {
	switch b {
	case mqtt.OnConnect, mqtt.OnConnectAuthenticate, mqtt.OnACLCheck, mqtt.OnSubscribe, mqtt.OnSubscribed, mqtt.OnPublish, mqtt.OnWillSent,
		mqtt.OnSessionEstablished, mqtt.OnDisconnect, mqtt.OnUnsubscribed:
		return true
	}
	return false
}

func device(cl *mqtt.Client) *deviceConn {
	d, _ := cl.Net.Conn.(*deviceConn)
	return d
}

func (h *hook) OnConnect(cl *mqtt.Client, pk packets.Packet) error {
	d := device(cl)
	if d == nil {
		return errRefused
	}
	return h.w.admit(d, pk)
}

// OnConnectAuthenticate has nothing left to decide: OnConnect refuses without a
// CONNACK, as AWS does.
func (h *hook) OnConnectAuthenticate(*mqtt.Client, packets.Packet) bool { return true }

// OnSubscribe decides on each filter and marks those that no policy allows. The
// answer for them is 0x80, or 0x87 in MQTT 5.
func (h *hook) OnSubscribe(cl *mqtt.Client, pk packets.Packet) packets.Packet {
	d := device(cl)
	if d == nil {
		return pk
	}
	filters := make(packets.Subscriptions, len(pk.Filters))
	for i, sub := range pk.Filters {
		filters[i] = sub
		if why := h.refuseFilter(d, sub.Filter); why != "" {
			h.w.note("subscribe.denied", why, "clientId", d.clientID, "filter", sub.Filter)
			filters[i].Filter = denied + sub.Filter
			continue
		}
		d.approved.add(sub.Filter)
	}
	pk.Filters = filters
	return pk
}

// OnSubscribed drops what OnACLCheck was not asked about, and announces the rest.
func (h *hook) OnSubscribed(cl *mqtt.Client, pk packets.Packet, codes []byte) {
	if d := device(cl); d != nil {
		d.approved.clear()
		h.subscribed(d, pk, codes)
	}
}

func (h *hook) refuseFilter(d *deviceConn, filter string) string {
	plain := filter
	if rest, ok := strings.CutPrefix(filter, "$share/"); ok {
		_, plain, _ = strings.Cut(rest, "/")
	}
	switch {
	case len(filter) > maxTopic || strings.Count(plain, "/") > maxSlashes && !strings.HasPrefix(plain, "$aws/"):
		return "the topic filter is too long or has too many levels"
	case strings.HasPrefix(plain, basicIngest):
		return "devices cannot subscribe to " + basicIngest // AWS IoT developer guide, iot-basic-ingest
	case strings.HasPrefix(plain, "$") && !strings.HasPrefix(plain, "$aws/"):
		return "topics that begin with $ are reserved"
	}
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	if !h.w.allowed(d.cert, d.clientID, "iot:Subscribe", "topicfilter/"+filter) {
		return "no policy allows iot:Subscribe"
	}
	return ""
}

// OnACLCheck is called for a filter that is being subscribed and for a topic that
// is being delivered, and cannot tell which. OnSubscribe has noted the filters
// that are allowed; each note is good for one question.
func (h *hook) OnACLCheck(cl *mqtt.Client, topic string, write bool) bool {
	d := device(cl)
	switch {
	case d == nil:
		return cl.Net.Inline
	case write:
		return true // decided in OnPublish, which knows topic aliases and the retain flag
	case strings.HasPrefix(topic, denied):
		return false
	case d.approved.take(topic):
		return true
	}
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	if h.w.allowed(d.cert, d.clientID, "iot:Receive", "topic/"+topic) {
		return true
	}
	h.w.note("receive.denied", "no policy allows iot:Receive", "clientId", d.clientID, "topic", topic)
	return false
}

// OnPublish decides on a message of a device. A message that is not allowed ends
// the connection.
func (h *hook) OnPublish(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	if cl.Net.Inline {
		return pk, nil
	}
	d := device(cl)
	if d == nil {
		return pk, packets.ErrRejectPacket
	}
	if why := h.refusePublish(d, pk); why != "" {
		h.w.note("publish.denied", why, "clientId", d.clientID, "topic", pk.TopicName)
		if len(pk.Payload) > maxMessage {
			d.blame(reasonError)
		}
		if cl.Properties.ProtocolVersion == 5 {
			h.w.broker.DisconnectClient(cl, packets.ErrNotAuthorized)
		} else {
			cl.Stop(packets.ErrNotAuthorized)
		}
		return pk, packets.ErrRejectPacket
	}
	if r, ok := parseFleetTopic(pk.TopicName); ok {
		h.w.startFleet(cl, d, r, pk.Payload)
		return pk, packets.CodeSuccessIgnore
	}
	if strings.HasPrefix(pk.TopicName, basicIngest) {
		h.w.runBasicIngest(d.message(pk))
		return pk, packets.CodeSuccessIgnore // acknowledged, but for no subscriber
	}
	h.w.runMatching(d.message(pk))
	return pk, nil
}

func (h *hook) refusePublish(d *deviceConn, pk packets.Packet) string {
	topic := pk.TopicName
	plain := topic
	if rest, ok := strings.CutPrefix(topic, basicIngest); ok {
		_, plain, _ = strings.Cut(rest, "/") // the first three levels do not count
	}
	switch {
	case topic == "" || len(plain) > maxTopic || strings.Count(plain, "/") > maxSlashes:
		return "the topic is empty, too long or has too many levels"
	case len(pk.Payload) > maxMessage:
		return "the message is larger than 128 KiB"
	case strings.HasPrefix(topic, "$") && !strings.HasPrefix(topic, basicIngest) && !isFleetTopic(topic):
		return "devices cannot publish to this reserved topic; this AWS simulator has no shadows and no jobs"
	case pk.FixedHeader.Retain && strings.HasPrefix(topic, "$"):
		return "messages to reserved topics cannot be retained"
	case pk.FixedHeader.Retain && h.w.broker.Topics.Retained.Len() >= maxRetained:
		return "the simulator holds at most 10000 retained messages"
	}
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	if !h.w.mayPublish(d.cert, d.clientID, topic, pk.FixedHeader.Retain) {
		return "no policy allows iot:Publish"
	}
	return ""
}

// OnWillSent runs the rules for a last will, which does not pass OnPublish.
func (h *hook) OnWillSent(cl *mqtt.Client, pk packets.Packet) {
	if d := device(cl); d != nil {
		h.w.runMatching(d.message(pk))
	}
}

// approvals are the filters of a SUBSCRIBE that OnACLCheck will ask about.
type approvals struct {
	mu sync.Mutex
	n  map[string]int
}

func (a *approvals) add(filter string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.n == nil {
		a.n = map[string]int{}
	}
	a.n[filter]++
}

func (a *approvals) take(filter string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.n[filter] == 0 {
		return false
	}
	if a.n[filter]--; a.n[filter] == 0 {
		delete(a.n, filter)
	}
	return true
}

func (a *approvals) clear() {
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.n)
}
