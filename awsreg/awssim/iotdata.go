package awssim

import (
	"net/http"
	"strings"
)

// iotDataOperations are the operations of the data plane that answer over HTTP.
// Methods and paths were compared with serializers.go of
// aws-sdk-go-v2/service/iotdataplane v1.40.0.
var iotDataOperations = []iotOperation{
	{"Publish", "POST", "/topics/{topic}", publishMessage},
	{"GetRetainedMessage", "GET", "/retainedMessage/{topic}", getRetainedMessage},
}

// serveIoTData dispatches one request to the data plane. AWS has another endpoint
// for it (DescribeEndpoint, iot:Data-ATS); here it is the control plane's port.
func (s *Sim) serveIoTData(w http.ResponseWriter, c *call) {
	s.serveREST(w, c, "IoT data", "iotdata:", iotDataOperations)
}

// publishMessage publishes a message of whoever signed the request. It reaches
// subscribers and rules, and by a Basic Ingest topic one rule. IAM is not checked.
func publishMessage(c *call) (any, error) {
	for name := range c.query {
		switch name {
		case "qos", "retain":
		default:
			return nil, noOperation("the parameter " + clip(name, 64) + " of Publish")
		}
	}
	for name := range c.r.Header {
		if strings.HasPrefix(name, "X-Amz-Mqtt5-") {
			return nil, noOperation("the header " + name + " of Publish")
		}
	}
	topic := c.path["topic"]
	qos := c.query.Get("qos")
	if qos != "" && qos != "0" && qos != "1" {
		return nil, invalid("qos must be 0 or 1, not %q", clip(qos, 20))
	}
	retain, err := c.flag("retain")
	if err != nil {
		return nil, err
	}
	ingest := strings.HasPrefix(topic, basicIngest)
	plain := topic
	if ingest {
		_, plain, _ = strings.Cut(strings.TrimPrefix(topic, basicIngest), "/")
	}
	switch {
	case plain == "" || len(plain) > maxTopic || strings.Count(plain, "/") > maxSlashes || strings.ContainsAny(plain, "+#\x00"):
		return nil, invalid("the topic is empty, too long, has too many levels or a wildcard")
	case strings.HasPrefix(topic, "$") && !ingest:
		return nil, noOperation("reserved topics for Publish, but for " + basicIngest)
	case retain && ingest:
		return nil, invalid("messages to reserved topics cannot be retained")
	case len(c.body) > maxMessage:
		return nil, invalid("the message is larger than 128 KiB")
	case retain && c.w.broker.Topics.Retained.Len() >= maxRetained:
		return nil, iotError("LimitExceededException", "the simulator holds at most %d retained messages", maxRetained)
	}
	m := message{topic: topic, payload: c.body, principal: c.caller.userID, sourceIP: hostPort(c.r.RemoteAddr)}
	c.then(func() {
		if ingest {
			c.w.runBasicIngest(m)
			return
		}
		var level byte
		if qos == "1" {
			level = 1
		}
		if err := c.w.sendRetained(topic, c.body, level, retain); err != nil {
			c.w.note("broker.error", err.Error(), "topic", topic)
			return
		}
		c.w.runMatching(m)
	})
	return nil, nil
}

// getRetainedMessage answers the message that subscribers of a topic get first.
func getRetainedMessage(c *call) (any, error) {
	topic := c.path["topic"]
	pk, ok := c.w.broker.Topics.Retained.Get(topic)
	if !ok {
		return nil, notFound("No retained message was found for the topic %s", clip(topic, 200))
	}
	return map[string]any{
		"topic": topic, "payload": pk.Payload, "qos": pk.FixedHeader.Qos, "lastModifiedTime": pk.Created * 1000,
	}, nil
}

// serveREST dispatches a REST-JSON request to the operations of a service. prefix
// tells their names from those of IoT in Calls.
func (s *Sim) serveREST(w http.ResponseWriter, c *call, service, prefix string, operations []iotOperation) {
	raw, _, _ := strings.Cut(c.r.RequestURI, "?")
	for _, op := range operations {
		params, ok := matchPath(op.path, raw)
		if !ok || op.method != c.r.Method {
			continue
		}
		c.path = params
		s.perform(w, c, prefix+op.name, func() (any, error) { return op.run(c) }, func(v any, e *apiError) {
			switch answer, own := v.(restAnswer); {
			case e != nil:
				e.writeRESTJSON(w)
			case own:
				answer.write(w)
			case v == nil:
				writeJSON(w, http.StatusOK, "application/json", struct{}{})
			default:
				writeJSON(w, http.StatusOK, "application/json", v)
			}
		})
		return
	}
	noOperation("the " + service + " operation " + c.r.Method + " " + clip(raw, 200)).writeRESTJSON(w)
}

// restAnswer is an answer that is more than a JSON document with status 200.
type restAnswer interface {
	write(http.ResponseWriter)
}
