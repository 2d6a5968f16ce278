package awssim

import (
	"encoding/json"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// Topics of lifecycle events; the client id follows (AWS IoT developer guide,
// life-cycle-events).
const (
	connectedTopic    = "$aws/events/presence/connected/"
	disconnectedTopic = "$aws/events/presence/disconnected/"
	subscribedTopic   = "$aws/events/subscriptions/subscribed/"
	unsubscribedTopic = "$aws/events/subscriptions/unsubscribed/"
)

// Reasons of a disconnection (AWS IoT developer guide, life-cycle-events).
const (
	reasonAuth      = "AUTH_ERROR"
	reasonClient    = "CLIENT_INITIATED_DISCONNECT"
	reasonError     = "CLIENT_ERROR"
	reasonLost      = "CONNECTION_LOST"
	reasonDuplicate = "DUPLICATE_CLIENTID"
	reasonKeepAlive = "MQTT_KEEP_ALIVE_TIMEOUT"
	reasonServer    = "SERVER_INITIATED_DISCONNECT"
)

// versionReset is how long a client must have been away for its version number to
// begin at 0 again (AWS IoT developer guide, life-cycle-events: about one hour).
const versionReset = time.Hour

// lifecycleEvent is the payload of the events. What an event does not have is left
// out.
type lifecycleEvent struct {
	ClientID  string   `json:"clientId"`
	ThingName string   `json:"thingName,omitempty"` // of an exclusive thing only
	Timestamp int64    `json:"timestamp"`           // milliseconds
	EventType string   `json:"eventType"`
	Session   string   `json:"sessionIdentifier"`
	Principal string   `json:"principalIdentifier"`
	IPAddress string   `json:"ipAddress,omitempty"`                 // connected
	ByClient  *bool    `json:"clientInitiatedDisconnect,omitempty"` // disconnected
	Reason    string   `json:"disconnectReason,omitempty"`          // disconnected
	Version   *int64   `json:"versionNumber,omitempty"`             // presence
	Topics    []string `json:"topics,omitempty"`                    // subscriptions
}

// presence is the state of lifecycle events: the version number of each client id.
type presence struct {
	mu      sync.Mutex
	clients map[string]*clientVersion
}

type clientVersion struct {
	next int64
	live int       // sessions that have not ended
	gone time.Time // when the last one ended
}

// deviceSession is what the events of one connection have in common.
type deviceSession struct {
	id        string
	version   int64
	thing     string
	announced bool
	reason    atomic.Pointer[string] // set by the side that ends the connection
}

// begin numbers a session of a client id.
func (p *presence) begin(clientID string, now time.Time) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.clients == nil {
		p.clients = map[string]*clientVersion{}
	}
	if len(p.clients) >= maxRecords {
		for id, c := range p.clients {
			if c.live == 0 && now.Sub(c.gone) > versionReset {
				delete(p.clients, id)
			}
		}
	}
	c := p.clients[clientID]
	if c == nil || c.live == 0 && now.Sub(c.gone) > versionReset {
		c = &clientVersion{}
		p.clients[clientID] = c
	}
	n := c.next
	c.next++
	c.live++
	return n
}

func (p *presence) end(clientID string, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.clients[clientID]; c != nil {
		c.live--
		c.gone = now
	}
}

// OnSessionEstablished announces a connection that was accepted. One that was
// refused has no session and no event.
func (h *hook) OnSessionEstablished(cl *mqtt.Client, _ packets.Packet) {
	d := device(cl)
	if d == nil {
		return
	}
	w := h.w
	d.session.id, d.session.version, d.session.announced = randomID(), w.presence.begin(d.clientID, w.now()), true
	w.mu.Lock()
	if th := w.connectionThing(d.id, d.clientID); th != nil && th.principals[d.id] {
		d.session.thing = th.name
	}
	w.mu.Unlock()
	e := d.lifecycle("connected", w.now())
	e.IPAddress, e.Version = d.remote, &d.session.version
	w.announce(connectedTopic, e)
}

// OnDisconnect announces the end of a session, with the reason.
func (h *hook) OnDisconnect(cl *mqtt.Client, err error, _ bool) {
	d := device(cl)
	if d == nil || !d.session.announced {
		return
	}
	w := h.w
	w.presence.end(d.clientID, w.now())
	e := d.lifecycle("disconnected", w.now())
	e.Reason = disconnectReason(d, cl.StopCause(), err)
	byClient := e.Reason == reasonClient
	e.ByClient, e.Version = &byClient, &d.session.version
	w.announce(disconnectedTopic, e)
}

// disconnectReason tells why a session ended. cause is what the broker stopped it
// with, err what its connection met.
func disconnectReason(d *deviceConn, cause, err error) string {
	if r := d.session.reason.Load(); r != nil {
		return *r
	}
	is := func(code packets.Code) bool { return errors.Is(cause, code) || errors.Is(err, code) }
	var timeout net.Error
	var code packets.Code
	switch {
	case is(packets.ErrSessionTakenOver):
		return reasonDuplicate
	case is(packets.ErrNotAuthorized):
		return reasonAuth
	case is(packets.CodeDisconnect), is(packets.CodeDisconnectWillMessage):
		return reasonClient
	case errors.As(err, &timeout) && timeout.Timeout():
		return reasonKeepAlive
	case errors.As(err, &code):
		return reasonError
	}
	return reasonLost
}

// blame says beforehand why a session is about to end.
func (d *deviceConn) blame(reason string) { d.session.reason.Store(&reason) }

// OnUnsubscribed announces filters that a client has given up.
func (h *hook) OnUnsubscribed(cl *mqtt.Client, pk packets.Packet) {
	if d := device(cl); d != nil {
		var topics []string
		for _, sub := range pk.Filters {
			topics = append(topics, sub.Filter)
		}
		h.w.announceSubscriptions(unsubscribedTopic, "unsubscribed", d, topics)
	}
}

// subscribed announces the filters of a SUBSCRIBE that were granted.
func (h *hook) subscribed(d *deviceConn, pk packets.Packet, codes []byte) {
	var topics []string
	for i, sub := range pk.Filters {
		if i < len(codes) && codes[i] < 0x80 {
			topics = append(topics, sub.Filter)
		}
	}
	h.w.announceSubscriptions(subscribedTopic, "subscribed", d, topics)
}

func (w *world) announceSubscriptions(topic, kind string, d *deviceConn, topics []string) {
	if len(topics) > 0 {
		e := d.lifecycle(kind, w.now())
		e.Topics = topics
		w.announce(topic, e)
	}
}

func (d *deviceConn) lifecycle(kind string, now time.Time) lifecycleEvent {
	return lifecycleEvent{
		ClientID: d.clientID, ThingName: d.session.thing, Timestamp: now.UnixMilli(), EventType: kind,
		Session: d.session.id, Principal: d.id,
	}
}

// announce publishes a lifecycle event to permitted subscribers and to the rules.
// There is none for a client id with a wildcard of MQTT in it. It must not be called
// with w.mu held.
func (w *world) announce(topic string, e lifecycleEvent) {
	select {
	case <-w.sim.done:
		return // the simulator disconnects everybody
	default:
	}
	if strings.ContainsAny(e.ClientID, "+#") {
		return
	}
	payload, err := json.Marshal(e)
	if err != nil {
		w.note("broker.error", err.Error(), "topic", topic)
		return
	}
	w.publish(topic+e.ClientID, payload, 0, 0)
}

// message is what a device has published, for the rules.
func (d *deviceConn) message(pk packets.Packet) message {
	return message{topic: pk.TopicName, payload: pk.Payload, clientID: d.clientID, principal: d.id, sourceIP: d.remote}
}
