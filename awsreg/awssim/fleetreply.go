package awssim

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// reply sends the answer to the connection that asked, and to no other subscriber:
// "IoT Core Fleet Provisioning returns the device provisioning MQTT API results
// through the same MQTT connection used to publish the API request" (AWS IoT
// developer guide, fleet-provision-api). The client must have subscribed, and its
// policies must let it receive. Answers are of QoS 0, because a message of QoS 1 is
// kept for the next connection with the same client id, and this one may hold a
// private key.
func (w *world) reply(cl *mqtt.Client, d *deviceConn, r fleetRequest, answer any, failed *apiError) {
	topic, kind, why := r.topic+"/accepted", "provisioning.accepted", ""
	pairs := []string{"operation", r.op, "clientId", d.clientID, "principal", d.id}
	if r.template != "" {
		pairs = append(pairs, "template", r.template)
	}
	if failed != nil {
		rejected := rejectionOf(failed)
		topic, kind, why, answer = r.topic+"/rejected", "provisioning.rejected", failed.Error(), rejected
		pairs = append(pairs, "statusCode", strconv.Itoa(rejected.StatusCode), "errorCode", rejected.ErrorCode)
	}
	w.note(kind, why, pairs...)
	body, err := encodeFleet(r.format, answer)
	if err == nil {
		err = w.tell(cl, d, topic, body)
	}
	if err != nil {
		w.note("provisioning.unheard", err.Error(), "clientId", d.clientID, "topic", topic)
	}
}

// tell writes a message to one client.
func (w *world) tell(cl *mqtt.Client, d *deviceConn, topic string, body []byte) error {
	sub, ok := subscriptionTo(cl, topic)
	if !ok {
		return fmt.Errorf("the client has not subscribed to the topic of the answer")
	}
	w.mu.Lock()
	may := d.cert != nil && w.allowed(d.cert, d.clientID, "iot:Receive", "topic/"+topic)
	w.mu.Unlock()
	if !may {
		return fmt.Errorf("no policy allows iot:Receive")
	}
	pk := packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Publish}, TopicName: topic, Payload: body, Created: time.Now().Unix(),
	}
	if sub.Identifier > 0 {
		pk.Properties.SubscriptionIdentifier = []int{sub.Identifier}
	}
	return cl.WritePacket(pk)
}

// subscriptionTo finds a subscription of a client to a topic. Shared ones do not
// count: their messages go to whichever subscriber is next.
func subscriptionTo(cl *mqtt.Client, topic string) (packets.Subscription, bool) {
	for filter, sub := range cl.State.Subscriptions.GetAll() {
		if !strings.HasPrefix(filter, "$share/") && matchFilter(filter, topic) {
			return sub, true
		}
	}
	return packets.Subscription{}, false
}
