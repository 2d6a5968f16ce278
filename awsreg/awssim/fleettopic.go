package awssim

import "strings"

// The topics of the device provisioning MQTT API (AWS IoT developer guide,
// fleet-provision-api).
const (
	createKeysTopic    = "$aws/certificates/create/"
	createFromCSRTopic = "$aws/certificates/create-from-csr/"
	provisionTopic     = "$aws/provisioning-templates/"
)

// Operations of the device provisioning MQTT API, as faults and Calls name them. The
// prefix tells them from those of the control plane with the same names.
const (
	mqttCreateKeys    = "mqtt:CreateKeysAndCertificate"
	mqttCreateFromCSR = "mqtt:CreateCertificateFromCsr"
	mqttRegisterThing = "mqtt:RegisterThing"
)

// fleetRequest is a message to one of these topics.
type fleetRequest struct {
	op       string
	topic    string
	template string // of mqttRegisterThing
	format   string // json or cbor
}

func isFleetTopic(topic string) bool {
	_, ok := parseFleetTopic(topic)
	return ok
}

// parseFleetTopic reports whether a topic is one to which requests are sent.
func parseFleetTopic(topic string) (fleetRequest, bool) {
	r := fleetRequest{topic: topic}
	var ok bool
	if r.format, ok = strings.CutPrefix(topic, createKeysTopic); ok {
		r.op = mqttCreateKeys
	} else if r.format, ok = strings.CutPrefix(topic, createFromCSRTopic); ok {
		r.op = mqttCreateFromCSR
	} else if rest, found := strings.CutPrefix(topic, provisionTopic); found {
		r.op = mqttRegisterThing
		if r.template, r.format, ok = strings.Cut(rest, "/provision/"); ok && !templateName.MatchString(r.template) {
			return fleetRequest{}, false
		}
	}
	if !ok || r.format != "json" && r.format != "cbor" {
		return fleetRequest{}, false
	}
	return r, true
}
