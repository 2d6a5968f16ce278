package awssim

import (
	"encoding/json"
	"strings"
)

// basicIngest is the prefix of topics that go to one rule and to no subscriber
// (AWS IoT developer guide, iot-basic-ingest).
const basicIngest = "$aws/rules/"

// maxRepublish ends chains of rules that feed each other. It is the simulator's
// own bound.
const maxRepublish = 5

// publish sends a message as AWS itself: to the subscribers and to the rules. It
// must not be called with w.mu held.
func (w *world) publish(topic string, payload []byte, qos byte, depth int) {
	if err := w.send(topic, payload, qos); err != nil {
		w.note("broker.error", err.Error(), "topic", topic)
		return
	}
	w.runRules(topic, payload, depth)
}

// runRules runs the rules that subscribe to a topic. It must not be called with
// w.mu held.
func (w *world) runRules(topic string, payload []byte, depth int) {
	w.mu.Lock()
	var hit []topicRule
	for _, r := range sorted(w.rules, func(r *topicRule) int64 { return r.seq }) {
		if !r.disabled && matchFilter(r.sql.filter, topic) && r.sql.matches(payload) {
			hit = append(hit, *r)
		}
	}
	w.mu.Unlock()
	for _, r := range hit {
		w.runActions(r, topic, payload, depth)
	}
}

// runBasicIngest runs the one rule that a Basic Ingest topic names. The rest of
// the topic is matched with the rule's filter: the page on Basic Ingest adds the
// prefix to the topic that would otherwise invoke the rule.
func (w *world) runBasicIngest(topic string, payload []byte) {
	name, rest, _ := strings.Cut(strings.TrimPrefix(topic, basicIngest), "/")
	w.mu.Lock()
	r, ok := w.rules[name]
	var rule topicRule
	if ok {
		rule = *r
	}
	w.mu.Unlock()
	if !ok || rule.disabled || !matchFilter(rule.sql.filter, rest) || !rule.sql.matches(payload) {
		w.note("rule.nomatch", "no rule took the Basic Ingest message", "topic", topic)
		return
	}
	w.runActions(rule, rest, payload, 0)
}

func (w *world) runActions(r topicRule, topic string, payload []byte, depth int) {
	for _, a := range r.payload.Actions {
		switch {
		case a.Lambda != nil:
			// SELECT * hands the function the payload, which must be JSON. What the real
			// service does with other payloads is not documented well enough to copy.
			if !json.Valid(payload) {
				w.note("rule.failed", "the payload is not JSON, the function was not called", "rule", r.name, "topic", topic)
				continue
			}
			w.invoke(r.name, a.Lambda.FunctionARN, payload)
		case a.Republish != nil:
			if depth >= maxRepublish {
				w.note("rule.failed", "the simulator ends chains of rules after five", "rule", r.name, "topic", topic)
				continue
			}
			w.note("rule.republished", "", "rule", r.name, "from", topic, "to", a.Republish.Topic)
			w.publish(a.Republish.Topic, payload, byte(a.Republish.QoS), depth+1)
		}
	}
}
