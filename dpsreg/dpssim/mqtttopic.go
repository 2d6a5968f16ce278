package dpssim

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// The topics of the device API
// (https://learn.microsoft.com/azure/iot/iot-mqtt-connect-to-iot-dps).
const (
	registerTopic   = "$dps/registrations/PUT/iotdps-register/"
	operationTopic  = "$dps/registrations/GET/iotdps-get-operationstatus/"
	answerTopic     = "$dps/registrations/res/"
	answerFilter    = answerTopic + "#"
	maxRequestID    = 256
	maxMQTTUsername = 1024
)

// mqttRequest is a message of a device to one of the topics.
type mqttRequest struct {
	op        string
	id        string // $rid as the device wrote it, which the answer repeats
	operation string // operationId of opOperation
}

// parseTopic reads the topic of a request:
//
//	$dps/registrations/PUT/iotdps-register/?$rid={id}
//	$dps/registrations/GET/iotdps-get-operationstatus/?$rid={id}&operationId={id}
func parseTopic(topic string) (mqttRequest, error) {
	path, query, found := strings.Cut(topic, "?")
	r := mqttRequest{op: opRegister}
	switch {
	case path == operationTopic:
		r.op = opOperation
	case path != registerTopic:
		return mqttRequest{}, errors.New("it is none of the topics of DPS")
	}
	if !found {
		return mqttRequest{}, errors.New("it has no ?$rid=")
	}
	for part := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(part, "=")
		field := &r.id
		switch {
		case name == "$rid":
		case name == "operationId" && r.op == opOperation:
			field = &r.operation
		default:
			return mqttRequest{}, fmt.Errorf("it has a property %q", clip(name, 32))
		}
		if *field != "" || value == "" || len(value) > maxRequestID || strings.ContainsAny(value, "+#/\x00") {
			return mqttRequest{}, fmt.Errorf("its property %s is empty, too long, twice there or has a character of filters", name)
		}
		*field = value
	}
	if r.id == "" || r.op == opOperation && r.operation == "" {
		return mqttRequest{}, errors.New("a property is missing")
	}
	return r, nil
}

// topic is where the answer goes: the status, the request id, and when to ask again.
func (r mqttRequest) topic(status int, retryAfter string) string {
	t := fmt.Sprintf("%s%d/?$rid=%s", answerTopic, status, r.id)
	if retryAfter != "" {
		t += "&retry-after=" + retryAfter
	}
	return t
}

// parseUsername reads the user name of CONNECT:
//
//	{idScope}/registrations/{registrationId}/api-version={version}[&ClientVersion={text}]
//
// What else may follow is not documented; it is let pass.
func parseUsername(name string) (deviceCall, error) {
	if len(name) > maxMQTTUsername {
		return deviceCall{}, fmt.Errorf("the user name has more than %d bytes", maxMQTTUsername)
	}
	parts := strings.SplitN(name, "/", 4)
	if len(parts) != 4 || parts[0] == "" || parts[1] != "registrations" || parts[2] == "" {
		return deviceCall{}, errors.New("the user name is not {idScope}/registrations/{registrationId}/api-version={version}")
	}
	c := deviceCall{scope: parts[0], registrationID: parts[2]}
	first, rest, _ := strings.Cut(parts[3], "&")
	version, found := strings.CutPrefix(first, "api-version=")
	if !found {
		return deviceCall{}, errors.New("the user name does not begin its properties with api-version=")
	}
	if err := checkVersion(version); err != nil {
		return deviceCall{}, err
	}
	if _, err := url.ParseQuery(rest); err != nil {
		return deviceCall{}, errors.New("the properties of the user name are not name=value")
	}
	c.apiVersion = version
	return c, nil
}
