package awssim

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// basicIngest is the prefix of topics that go to one rule and to no subscriber
// (AWS IoT developer guide, iot-basic-ingest).
const basicIngest = "$aws/rules/"

// Bounds of rules that feed each other, the simulator's own. Rules with ten actions
// each multiply, so the length of a chain alone bounds nothing.
const (
	maxRepublish = 5    // length of a chain
	maxFollowers = 1000 // of one message, all that follow from it together
)

// How a message reached a rule, as the events say it. AWS charges messages through
// the broker, and not those of Basic Ingest.
const (
	viaBroker = "broker"
	viaIngest = "basic-ingest"
)

// message is a message on its way through the rules.
type message struct {
	topic     string // of a Basic Ingest message what follows the rule's name, once it is with the rule
	payload   []byte
	clientID  string // empty if it was not sent over MQTT
	principal string // certificate id, or IAM user id
	sourceIP  string
	via       string
	trace     string
	depth     int  // of rules that feed each other
	followers *int // how many republications it has set off, itself and through others
}

// counted is the message with a count of its own, unless a rule has made it.
func (m message) counted() message {
	if m.followers == nil {
		m.followers = new(int)
	}
	return m
}

// publish sends a message as AWS itself: to the subscribers and to the rules. It
// must not be called with w.mu held.
func (w *world) publish(topic string, payload []byte, qos byte, depth int) {
	w.publishMessage(message{topic: topic, payload: payload, depth: depth}, qos)
}

func (w *world) publishMessage(m message, qos byte) {
	if err := w.send(m.topic, m.payload, qos); err != nil {
		w.note("broker.error", err.Error(), "topic", m.topic)
		return
	}
	w.runMatching(m)
}

// runMatching runs the rules that subscribe to the topic of a message. It must not
// be called with w.mu held.
func (w *world) runMatching(m message) {
	w.mu.Lock()
	var hit []topicRule
	for _, r := range sorted(w.rules, func(r *topicRule) int64 { return r.seq }) {
		if !r.disabled && r.sql.filter != "" && matchFilter(r.sql.filter, m.topic) {
			hit = append(hit, *r)
		}
	}
	w.mu.Unlock()
	m = m.counted()
	m.via = viaBroker
	for _, r := range hit {
		w.runRule(&r, m)
	}
}

// runBasicIngest runs the one rule that a Basic Ingest topic names. The rest of
// the topic is matched with the rule's filter, if it has one: the page on Basic
// Ingest adds the prefix to the topic that would otherwise invoke the rule. It must
// not be called with w.mu held.
func (w *world) runBasicIngest(m message) {
	name, rest, _ := strings.Cut(strings.TrimPrefix(m.topic, basicIngest), "/")
	w.mu.Lock()
	r, ok := w.rules[name]
	var rule topicRule
	if ok {
		rule = *r
	}
	w.mu.Unlock()
	if !ok || rule.disabled || rule.sql.filter != "" && !matchFilter(rule.sql.filter, rest) {
		w.note("rule.nomatch", "no rule took the Basic Ingest message", "topic", m.topic)
		return
	}
	m = m.counted()
	m.topic, m.via = rest, viaIngest
	if !w.runRule(&rule, m) {
		w.note("rule.nomatch", "the WHERE clause of the rule is not true", "rule", name, "topic", m.topic)
	}
}

// runRule evaluates a rule for a message and runs its actions. It reports whether
// the message was selected. Once the simulator closes, it does nothing.
func (w *world) runRule(r *topicRule, m message) bool {
	if w.sim.closing() {
		return true
	}
	m.trace = randomID()
	env := newSQLEnv(w, &m, r.payload.version())
	out, matched, err := r.sql.run(env)
	if err != nil {
		w.note("rule.failed", err.Error(), "rule", r.name, "topic", m.topic, "via", m.via)
		return true
	}
	if !matched {
		return false
	}
	var failures []actionFailure
	for _, a := range r.actions {
		if w.sim.closing() {
			return true
		}
		if f := w.runAction(r, a, env, out); f != nil {
			failures = append(failures, *f)
		}
	}
	if len(failures) > 0 && r.errorAction != nil {
		w.runErrorAction(r, env, failures)
	}
	return true
}

// actionFailure is what the error action gets to know (AWS IoT developer guide,
// rule-error-handling).
type actionFailure struct {
	Action   string `json:"failedAction"`
	Resource string `json:"failedResource"`
	Message  string `json:"errorMessage"`
}

// runErrorAction hands all failures of one rule and message to its error action.
func (w *world) runErrorAction(r *topicRule, env *sqlEnv, failures []actionFailure) {
	clientID, _ := sqlFunctions["clientid"].run(env, nil).(string)
	body, err := json.Marshal(map[string]any{
		"ruleName": r.name, "topic": env.msg.topic, "cloudwatchTraceId": env.msg.trace, "clientId": clientID,
		"base64OriginalPayload": env.msg.payload, "failures": failures,
	})
	if err != nil {
		w.note("rule.failed", err.Error(), "rule", r.name)
		return
	}
	w.runAction(r, *r.errorAction, env, body)
}

// runAction runs one action with what the statement has selected.
func (w *world) runAction(r *topicRule, a preparedAction, env *sqlEnv, out []byte) *actionFailure {
	var kind, resource string
	var err error
	switch {
	case a.lambda != "":
		kind, resource = "LambdaAction", a.lambda
		err = w.runLambda(a.lambda, out)
	case a.topic != nil:
		kind = "RepublishAction"
		resource, err = w.runRepublish(r, a, env, out)
	default:
		kind = "S3Action"
		resource, err = w.runS3(r, a, env, out)
	}
	if err == nil {
		return nil
	}
	text := err.Error()
	w.note("rule.failed", text, "rule", r.name, "action", kind, "resource", resource, "topic", env.msg.topic, "via", env.msg.via)
	return &actionFailure{kind, resource, text}
}

// runLambda queues an event for a function. AWS hands a function JSON only (AWS IoT
// developer guide, binary-payloads).
func (w *world) runLambda(arn string, out []byte) error {
	if !json.Valid(out) {
		return errors.New("the payload is not JSON, the function was not called")
	}
	f, err := w.lookup(arn)
	if err != nil {
		return err
	}
	return f.enqueue(out)
}

func (w *world) runRepublish(r *topicRule, a preparedAction, env *sqlEnv, out []byte) (string, error) {
	topic, err := a.topic.text(env)
	if err != nil {
		return "", err
	}
	if why := refuseTopic(topic); why != "" {
		return topic, errors.New(why)
	}
	if len(out) > maxMessage {
		return topic, errors.New("the message is larger than 128 KiB")
	}
	m := *env.msg
	if m.depth >= maxRepublish {
		return topic, errors.New("the simulator ends chains of rules after five")
	}
	if *m.followers >= maxFollowers {
		return topic, fmt.Errorf("the simulator ends what follows from one message after %d republications", maxFollowers)
	}
	*m.followers++
	w.note("rule.republished", "", "rule", r.name, "from", m.topic, "to", topic, "via", m.via)
	m.topic, m.payload, m.depth = topic, out, m.depth+1
	w.publishMessage(m, a.qos)
	return topic, nil
}

// putFailed is AWS's text of the failure (AWS IoT developer guide,
// rule-error-handling).
const putFailed = "Failed to put S3 object. The error received was %v. Message arrived on: %s, Action: s3, Bucket: %s, Key: %q"

func (w *world) runS3(r *topicRule, a preparedAction, env *sqlEnv, out []byte) (string, error) {
	bucket, err := a.bucket.text(env)
	if err != nil {
		return "", err
	}
	key, err := a.key.text(env)
	if err != nil {
		return bucket, err
	}
	if err := w.writeObject(bucket, key, out); err != nil {
		//lint:ignore ST1005 it is the text that AWS sends, word for word
		return bucket, fmt.Errorf(putFailed, err, env.msg.topic, bucket, key)
	}
	w.note("rule.stored", "", "rule", r.name, "topic", env.msg.topic, "bucket", bucket, "key", key, "via", env.msg.via)
	return bucket, nil
}
