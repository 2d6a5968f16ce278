package awssim

import (
	"crypto/tls"
	"encoding/json"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	paho "github.com/eclipse/paho.mqtt.golang"
)

const allowEvery = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:*","Resource":"*"}}`

// allowEverything gives activeDevice's policy every permission.
func allowEverything(t *testing.T, c *iot.Client) {
	t.Helper()
	_, err := c.CreatePolicyVersion(ctx, &iot.CreatePolicyVersionInput{PolicyName: aws.String("hello"), SetAsDefault: true, PolicyDocument: aws.String(allowEvery)})
	wantCode(t, err, "")
}

// TestLifecycleEvents goes through the ways a session ends.
func TestLifecycleEvents(t *testing.T) {
	s := startSim(t)
	c := s.client(first, region)
	ca := newCA(t, "Presence CA")
	ca.mustRegister(t, c)
	watcher, _, _ := activeDevice(t, c, ca, "watcher")
	dev, id, arn := activeDevice(t, c, ca, "dev")
	allowEverything(t, c)
	_, err := c.CreateThing(ctx, &iot.CreateThingInput{ThingName: aws.String("pump-7")})
	wantCode(t, err, "")
	_, err = c.AttachThingPrincipal(ctx, &iot.AttachThingPrincipalInput{ThingName: aws.String("pump-7"), Principal: &arn, ThingPrincipalType: types.ThingPrincipalTypeExclusiveThing})
	wantCode(t, err, "")
	w, err := connect(t, s, watcher, "watcher")
	if err != nil {
		t.Fatal(err)
	}
	events := make(chan map[string]any, 20)
	err = done(t, w.Subscribe("$aws/events/#", 0, func(_ paho.Client, m paho.Message) {
		var e map[string]any
		if json.Unmarshal(m.Payload(), &e) != nil {
			e = map[string]any{"broken": string(m.Payload())}
		}
		e["topic"] = m.Topic()
		if e["clientId"] != "watcher" {
			events <- e
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	session := ""
	want := func(topic string, members map[string]any) {
		t.Helper()
		e := receive(t, events)
		members["topic"], members["principalIdentifier"], members["clientId"] = topic, id, "dev"
		members["sessionIdentifier"], members["timestamp"] = e["sessionIdentifier"], e["timestamp"]
		members["eventType"] = strings.Split(topic, "/")[3]
		members["thingName"] = "pump-7"
		have, _ := json.Marshal(e)
		wanted, _ := json.Marshal(members)
		if string(have) != string(wanted) || e["timestamp"].(float64) < 1e12 || e["sessionIdentifier"] == "" {
			t.Errorf("event %s, want %s", have, wanted)
		}
		if e["eventType"] == "connected" {
			if session == e["sessionIdentifier"] {
				t.Error("two sessions with one identifier")
			}
			session = e["sessionIdentifier"].(string)
		} else if e["sessionIdentifier"] != session && e["disconnectReason"] != "DUPLICATE_CLIENTID" {
			t.Errorf("the session was %s, the event says %s", session, e["sessionIdentifier"])
		}
	}
	connected := func(version int) {
		t.Helper()
		want(connectedTopic+"dev", map[string]any{"ipAddress": "127.0.0.1", "versionNumber": version})
	}
	gone := func(version int, reason string) {
		t.Helper()
		want(disconnectedTopic+"dev", map[string]any{"clientInitiatedDisconnect": reason == "CLIENT_INITIATED_DISCONNECT", "disconnectReason": reason, "versionNumber": version})
	}
	join := func() paho.Client {
		t.Helper()
		d, err := connect(t, s, dev, "dev")
		if err != nil {
			t.Fatal(err)
		}
		return d
	}

	d := join()
	connected(0)
	if err := done(t, d.SubscribeMultiple(map[string]byte{"a/b": 0}, nil)); err != nil {
		t.Fatal(err)
	}
	want(subscribedTopic+"dev", map[string]any{"topics": []string{"a/b"}})
	if err := done(t, d.Unsubscribe("a/b")); err != nil {
		t.Fatal(err)
	}
	want(unsubscribedTopic+"dev", map[string]any{"topics": []string{"a/b"}})
	d.Disconnect(100)
	gone(0, "CLIENT_INITIATED_DISCONNECT")

	// A second connection with the same client id ends the first one.
	join()
	connected(1)
	join()
	var got []string
	for range 2 { // in either order
		e := receive(t, events)
		got = append(got, e["topic"].(string))
		if reason, _ := e["disconnectReason"].(string); strings.HasPrefix(e["topic"].(string), disconnectedTopic) && reason != "DUPLICATE_CLIENTID" {
			t.Errorf("taken over because of %s", reason)
		}
		if e["eventType"] == "connected" {
			session = e["sessionIdentifier"].(string)
		}
	}
	if got[0] == got[1] {
		t.Errorf("events %v", got)
	}
	// A status change.
	_, err = c.UpdateCertificate(ctx, &iot.UpdateCertificateInput{CertificateId: &id, NewStatus: "INACTIVE"})
	wantCode(t, err, "")
	gone(2, "SERVER_INITIATED_DISCONNECT")
	// What is refused has no event: the next one is that of the next session.
	if _, err := connect(t, s, dev, "dev"); err == nil {
		t.Fatal("an INACTIVE certificate connected")
	}
	_, err = c.UpdateCertificate(ctx, &iot.UpdateCertificateInput{CertificateId: &id, NewStatus: "ACTIVE"})
	wantCode(t, err, "")
	d = join()
	connected(3)
	if err := done(t, d.Publish("$aws/reserved", 0, false, "x")); err != nil {
		t.Fatal(err)
	}
	gone(3, "AUTH_ERROR")
	// A connection that breaks.
	var wire net.Conn
	if _, err = connect(t, s, dev, "dev", func(conf *tls.Config, o *paho.ClientOptions) {
		o.SetCustomOpenConnectionFn(func(u *url.URL, _ paho.ClientOptions) (net.Conn, error) {
			raw, err := net.Dial("tcp", u.Host)
			wire = raw
			if err != nil {
				return nil, err
			}
			return tls.Client(raw, conf), nil
		})
	}); err != nil {
		t.Fatal(err)
	}
	connected(4)
	wire.Close()
	gone(4, "CONNECTION_LOST")
	// A message that is too large.
	d = join()
	connected(5)
	if err := done(t, d.Publish("a", 0, false, make([]byte, maxMessage+1))); err != nil {
		t.Fatal(err)
	}
	gone(5, "CLIENT_ERROR")
	// A client that keeps silent for longer than it said: CONNECT of MQTT 3.1.1 with a
	// keep-alive of one second, and nothing more.
	silent, err := tls.Dial("tcp", s.BrokerAddr(), &tls.Config{InsecureSkipVerify: true,
		Certificates: []tls.Certificate{{Certificate: [][]byte{dev.cert.Raw}, PrivateKey: dev.key}}})
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	if _, err := silent.Write([]byte("\x10\x0f\x00\x04MQTT\x04\x02\x00\x01\x00\x03dev")); err != nil {
		t.Fatal(err)
	}
	connected(6)
	gone(6, "MQTT_KEEP_ALIVE_TIMEOUT")
}

// TestVersionNumbers: they rise, and begin again after an hour away.
func TestVersionNumbers(t *testing.T) {
	var p presence
	at := time.Unix(1e9, 0)
	for i, step := range []struct {
		gone time.Duration
		want int64
	}{{0, 0}, {time.Minute, 1}, {time.Hour, 2}, {time.Hour + time.Second, 0}, {time.Minute, 1}} {
		at = at.Add(step.gone)
		if got := p.begin("dev", at); got != step.want {
			t.Errorf("session %d has the number %d, want %d", i, got, step.want)
		}
		at = at.Add(2 * time.Hour) // a long session does not count as being away
		p.end("dev", at)
	}
	if got := p.begin("other", at); got != 0 {
		t.Errorf("another client begins at %d", got)
	}
}

// TestLifecycleRules: the rotation of certificates hangs on such a rule; here it writes to a
// folder. A subscriber without permission gets nothing.
func TestLifecycleRules(t *testing.T) {
	state, stateDir := withState(t)
	s := startSim(t, stateDir)
	c := s.client(first, region)
	ca := newCA(t, "Presence rules CA")
	ca.mustRegister(t, c)
	dev, id, _ := activeDevice(t, c, ca, "dev")
	wantS3(t, s, 200, "", "PUT", "/presence-data", nil, "", nil)
	_, err := c.CreateTopicRule(ctx, &iot.CreateTopicRuleInput{RuleName: aws.String("presence"), TopicRulePayload: &types.TopicRulePayload{
		Sql:     aws.String("SELECT principalIdentifier AS certificate, topic(5) AS client FROM '$aws/events/presence/connected/+' WHERE startswith(clientId, 'dev')"),
		Actions: []types.Action{{S3: &types.S3Action{BucketName: aws.String("presence-data"), Key: aws.String("${clientId}"), RoleArn: aws.String("arn:aws:iam::111122223333:role/s3")}}},
	}})
	wantCode(t, err, "")
	d, err := connect(t, s, dev, "dev")
	if err != nil {
		t.Fatal(err)
	}
	wait(t, "the rule", func() bool { return len(eventsOf(t, s, "rule.stored")) == 1 })
	b, err := os.ReadFile(filepath.Join(state, "s3", "presence-data", "dev"))
	if err != nil || string(b) != `{"certificate":"`+id+`","client":"dev"}` {
		t.Errorf("stored %s %v", b, err)
	}
	// The policy allows no subscription to events.
	if tok := d.Subscribe("$aws/events/presence/#", 0, nil); done(t, tok) != nil || tok.(*paho.SubscribeToken).Result()["$aws/events/presence/#"] != 0x80 {
		t.Errorf("subscribed without permission: %v", tok)
	}
}

// TestRulesToS3 runs three rules that store messages in buckets: messages by the broker and by
// Basic Ingest, objects in a folder.
func TestRulesToS3(t *testing.T) {
	state, stateDir := withState(t)
	s := startSim(t, stateDir)
	c := s.client(first, region)
	ca := newCA(t, "Rules CA")
	ca.mustRegister(t, c)
	dev, id, _ := activeDevice(t, c, ca, "test-thing-297468")
	allowEverything(t, c)
	wantS3(t, s, 200, "", "PUT", "/test-rule-bucket", nil, "", nil)
	dir := t.TempDir()
	for _, n := range []string{"1", "2", "3"} {
		payload := writeFile(t, dir, "rule"+n+".json", `{"sql":"SELECT * FROM 'test-rule/rule`+n+`'","awsIotSqlVersion":"2016-03-23","ruleDisabled":false,
			"actions":[{"s3":{"roleArn":"arn:aws:iam::111122223333:role/s3","bucketName":"test-rule-bucket","key":"${topic()}/${timestamp()}","cannedAcl":"private"}}]}`)
		if n == "1" { // by the command once, which is enough of it
			mustCLI(t, s, "iot", "create-topic-rule", "--rule-name", "test_rule_rule"+n, "--topic-rule-payload", "file://"+payload)
			continue
		}
		_, err := c.CreateTopicRule(ctx, &iot.CreateTopicRuleInput{RuleName: aws.String("test_rule_rule" + n), TopicRulePayload: &types.TopicRulePayload{
			Sql: aws.String("SELECT * FROM 'test-rule/rule" + n + "'"), AwsIotSqlVersion: aws.String("2016-03-23"),
			Actions: []types.Action{{S3: &types.S3Action{RoleArn: aws.String("r"), BucketName: aws.String("test-rule-bucket"), Key: aws.String("${topic()}/${timestamp()}")}}}}})
		wantCode(t, err, "")
	}
	d, err := connect(t, s, dev, "test-thing-297468")
	if err != nil {
		t.Fatal(err)
	}
	dev.files(t)
	root := writeFile(t, dir, "root.pem", string(s.RootPEM()))
	if out, err := mosquittoPub(t, s, root, dev.certFile, dev.keyFile, "-i", "mosquitto", "-t", "$aws/rules/test_rule_rule2/test-rule/rule2", "-m", `{"n":2}`); err != nil {
		t.Fatalf("mosquitto_pub: %v\n%s", err, out)
	}
	for topic, payload := range map[string]string{
		"test-rule/rule1": `{"n":1}`, "$aws/rules/test_rule_rule3/test-rule/rule3": "\x00 binary", "$aws/rules/test_rule_rule3/test-rule/rule1": `{}`,
	} {
		if err := done(t, d.Publish(topic, 1, false, payload)); err != nil {
			t.Fatal(err)
		}
	}
	wait(t, "three objects", func() bool { return len(eventsOf(t, s, "rule.stored")) == 3 })
	via := map[string]string{}
	for _, e := range eventsOf(t, s, "rule.stored") {
		via[e.Details["rule"]] = e.Details["via"]
	}
	if via["test_rule_rule1"] != "broker" || via["test_rule_rule2"] != "basic-ingest" || via["test_rule_rule3"] != "basic-ingest" {
		t.Errorf("ways: %v", via)
	}
	want := map[string]string{"test-rule/rule1": `{"n":1}`, "test-rule/rule2": `{"n":2}`, "test-rule/rule3": "\x00 binary"}
	root = filepath.Join(state, "s3", "test-rule-bucket")
	err = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		b, err := os.ReadFile(path)
		topic := filepath.Dir(rel)
		if text, ok := want[topic]; !ok || string(b) != text || len(filepath.Base(rel)) != 13 {
			t.Errorf("%s holds %q", rel, b)
		}
		delete(want, topic)
		return err
	})
	if err != nil || len(want) != 0 {
		t.Errorf("missing: %v %v", want, err)
	}

	// A failure goes to the error action, with the message as it came.
	_, err = c.CreateTopicRule(ctx, &iot.CreateTopicRuleInput{RuleName: aws.String("broken"), TopicRulePayload: &types.TopicRulePayload{
		Sql: aws.String("SELECT n FROM 'broken'"),
		Actions: []types.Action{
			{S3: &types.S3Action{BucketName: aws.String("no-such-bucket"), Key: aws.String("${topic()}"), RoleArn: aws.String("r")}},
			{S3: &types.S3Action{BucketName: aws.String("test-rule-bucket"), Key: aws.String("${missing}"), RoleArn: aws.String("r")}},
			{S3: &types.S3Action{BucketName: aws.String("test-rule-bucket"), Key: aws.String("../../${topic()}"), RoleArn: aws.String("r")}},
		},
		ErrorAction: &types.Action{Republish: &types.RepublishAction{Topic: aws.String("errors/${topic()}/${principal()}"), RoleArn: aws.String("r")}},
	}})
	wantCode(t, err, "")
	got := make(chan paho.Message, 1)
	if err := done(t, d.Subscribe("errors/#", 0, func(_ paho.Client, m paho.Message) { got <- m })); err != nil {
		t.Fatal(err)
	}
	if err := done(t, d.Publish("broken", 1, false, `{"n":4}`)); err != nil {
		t.Fatal(err)
	}
	m := receive(t, got)
	var e struct {
		RuleName, Topic, ClientID string
		Payload                   []byte `json:"base64OriginalPayload"`
		Failures                  []actionFailure
	}
	if err := json.Unmarshal(m.Payload(), &e); err != nil || m.Topic() != "errors/broken/"+id || e.RuleName != "broken" || e.Topic != "broken" ||
		e.ClientID != "test-thing-297468" || string(e.Payload) != `{"n":4}` || len(e.Failures) != 2 || e.Failures[0].Action != "S3Action" ||
		e.Failures[0].Resource != "no-such-bucket" || !strings.Contains(e.Failures[0].Message, "NoSuchBucket") || !strings.Contains(e.Failures[1].Message, "undefined") {
		t.Errorf("error message on %s: %s %v", m.Topic(), m.Payload(), err)
	}
	if b, err := os.ReadFile(filepath.Join(root, "%2E.", "%2E.", "broken")); err != nil || string(b) != `{"n":4}` {
		t.Errorf("the key with dots: %q %v", b, err)
	}
	rule, err := c.GetTopicRule(ctx, &iot.GetTopicRuleInput{RuleName: aws.String("broken")})
	if err != nil || rule.Rule.ErrorAction == nil || *rule.Rule.ErrorAction.Republish.Topic != "errors/${topic()}/${principal()}" || *rule.Rule.AwsIotSqlVersion != "2015-10-08" {
		t.Errorf("rule: %+v %v", rule, err)
	}
	for _, bad := range []types.Action{
		{S3: &types.S3Action{BucketName: aws.String("b"), Key: aws.String("${"), RoleArn: aws.String("r")}},
		{S3: &types.S3Action{BucketName: aws.String("b"), Key: aws.String("k"), RoleArn: aws.String("")}},
		{S3: &types.S3Action{BucketName: aws.String("b"), Key: aws.String("k"), RoleArn: aws.String("r"), CannedAcl: "everyone"}},
		{Lambda: &types.LambdaAction{FunctionArn: aws.String("arn:aws:lambda:eu-central-1:111122223333:function:${f}")}},
		{Republish: &types.RepublishAction{Topic: aws.String("a"), RoleArn: aws.String("r"), Qos: aws.Int32(2)}},
	} {
		_, err := c.CreateTopicRule(ctx, &iot.CreateTopicRuleInput{RuleName: aws.String("bad"), TopicRulePayload: &types.TopicRulePayload{Sql: aws.String("SELECT * FROM 'x'"), Actions: []types.Action{bad}}})
		if err == nil {
			t.Errorf("accepted %+v", bad)
		}
	}
}
