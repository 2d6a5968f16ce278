package awssim

import (
	"crypto/tls"
	"crypto/x509/pkix"
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	paho "github.com/eclipse/paho.mqtt.golang"
)

func TestMatchFilter(t *testing.T) {
	for _, tt := range []struct {
		filter, topic string
		want          bool
	}{
		{"a/b", "a/b", true}, {"a/b", "a/c", false}, {"a/+", "a/b", true}, {"a/+", "a", false}, {"a/+", "a/b/c", false},
		{"a/#", "a", true}, {"a/#", "a/b/c", true}, {"#", "a", true}, {"#", "$aws/x", false}, {"+/x", "$aws/x", false}, {"$aws/#", "$aws/x", true},
	} {
		if matchFilter(tt.filter, tt.topic) != tt.want {
			t.Errorf("%s on %s is not %v", tt.filter, tt.topic, tt.want)
		}
	}
}

func TestTopicRules(t *testing.T) {
	s := startSim(t)
	c := s.client(first, region)
	ca := newCA(t, "Rules CA")
	ca.mustRegister(t, c)
	dev, _, _ := activeDevice(t, c, ca, "dev")
	_, err := c.CreatePolicyVersion(ctx, &iot.CreatePolicyVersionInput{PolicyName: aws.String("hello"), SetAsDefault: true, PolicyDocument: aws.String(
		`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:*","Resource":"*"}}`)})
	wantCode(t, err, "")
	create := func(name, sql string, actions ...types.Action) error {
		_, err := c.CreateTopicRule(ctx, &iot.CreateTopicRuleInput{RuleName: &name, TopicRulePayload: &types.TopicRulePayload{Sql: &sql, Actions: append([]types.Action{}, actions...)}})
		return err
	}
	republish := func(topic string) types.Action {
		return types.Action{Republish: &types.RepublishAction{RoleArn: aws.String("arn:aws:iam::111122223333:role/r"), Topic: &topic}}
	}
	wantCode(t, create("to_b", "SELECT * FROM 'data/a' WHERE go = 'yes'", republish("data/b")), "")
	wantCode(t, create("to_b", "SELECT * FROM 'data/a'", republish("data/b")), "ResourceAlreadyExistsException")
	wantCode(t, create("bad", "SELECT temperature + 1 FROM 'x'", republish("y")), "SqlParseException")
	wantCode(t, create("bad", "SELECT * FROM 'x'", republish("${topic(}")), "SqlParseException")
	wantCode(t, create("bad", "SELECT * FROM 'x'", republish("a/#")), "InvalidRequestException")
	wantCode(t, create("bad", "SELECT * FROM 'x'", republish("$$aws/things/t/shadow/update")), "InvalidRequestException")
	wantCode(t, create("bad-name", "SELECT * FROM 'x'", republish("y")), "InvalidRequestException")
	wantCode(t, create("none", "SELECT * FROM 'x'"), "InvalidRequestException")
	wantCode(t, create("sns", "SELECT * FROM 'x'", types.Action{Sns: &types.SnsAction{RoleArn: aws.String("r"), TargetArn: aws.String("t")}}), "SimulatorNotImplemented")
	wantCode(t, create("loop", "SELECT * FROM 'loop/#'", republish("loop/again")), "")
	wantCode(t, create("lost", "SELECT * FROM 'data/lambda'", types.Action{Lambda: &types.LambdaAction{
		FunctionArn: aws.String("arn:aws:lambda:eu-central-1:111122223333:function:nowhere")}}), "")
	_, err = c.GetTopicRule(ctx, &iot.GetTopicRuleInput{RuleName: aws.String("nowhere")})
	wantCode(t, err, "UnauthorizedException")
	rule, err := c.GetTopicRule(ctx, &iot.GetTopicRuleInput{RuleName: aws.String("to_b")})
	if err != nil || *rule.Rule.Sql != "SELECT * FROM 'data/a' WHERE go = 'yes'" || *rule.Rule.Actions[0].Republish.Topic != "data/b" {
		t.Errorf("rule: %+v %v", rule, err)
	}

	d, err := connect(t, s, dev, "dev")
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 10)
	if err := done(t, d.Subscribe("data/b", 1, func(_ paho.Client, m paho.Message) { got <- string(m.Payload()) })); err != nil {
		t.Fatal(err)
	}
	pub := func(topic, payload string) {
		t.Helper()
		if err := done(t, d.Publish(topic, 1, false, payload)); err != nil {
			t.Fatal(err)
		}
	}
	pub("data/a", `{"go":"no"}`)
	pub("data/a", `{"go":"yes","n":1}`)
	if m := receive(t, got); m != `{"go":"yes","n":1}` {
		t.Errorf("republished %s", m)
	}
	// Basic Ingest: the rule runs, and no subscriber gets the message itself.
	pub("$aws/rules/to_b/data/a", `{"go":"yes","n":2}`)
	if m := receive(t, got); m != `{"go":"yes","n":2}` {
		t.Errorf("republished %s", m)
	}
	pub("$aws/rules/to_b/elsewhere", `{"go":"yes"}`)
	pub("$aws/rules/nowhere/data/a", `{}`)
	wait(t, "two Basic Ingest messages without a rule", func() bool { return len(eventsOf(t, s, "rule.nomatch")) == 2 })
	// A rule for Basic Ingest alone needs no FROM, and its topic begins after its name.
	wantCode(t, create("ingest_only", "SELECT topic() AS t WHERE n = 4", republish("data/b")), "")
	pub("$aws/rules/ingest_only/any/thing", `{"n":4}`)
	if m := receive(t, got); m != `{"t":"any/thing"}` {
		t.Errorf("republished %s", m)
	}
	pub("$aws/rules/ingest_only/any/thing", `{"n":5}`)
	wait(t, "the WHERE clause to refuse", func() bool { return len(eventsOf(t, s, "rule.nomatch")) == 3 })
	pub("loop/start", `{}`)
	pub("data/lambda", `{}`)
	pub("data/lambda", `not JSON`)
	wait(t, "three failed actions", func() bool { return len(eventsOf(t, s, "rule.failed")) == 3 })
	// A last will sets rules off as well.
	willer, err := connect(t, s, dev, "willer", func(_ *tls.Config, o *paho.ClientOptions) { o.SetWill("data/a", `{"go":"yes","n":3}`, 0, false) })
	if err != nil {
		t.Fatal(err)
	}
	w, _ := s.world(first, region)
	w.mu.Lock()
	var conns []*deviceConn
	for _, conn := range w.sessionsOf(certificateID(dev.cert)) {
		if conn.clientID == "willer" {
			conns = append(conns, conn)
		}
	}
	w.mu.Unlock()
	w.disconnect(conns, "test")
	if m := receive(t, got); m != `{"go":"yes","n":3}` {
		t.Errorf("republished %s", m)
	}
	willer.Disconnect(0)
	_, err = c.ReplaceTopicRule(ctx, &iot.ReplaceTopicRuleInput{RuleName: aws.String("to_b"), TopicRulePayload: &types.TopicRulePayload{
		Sql: aws.String("SELECT * FROM 'data/a'"), Actions: []types.Action{republish("data/b")}, RuleDisabled: aws.Bool(true)}})
	wantCode(t, err, "")
	list, err := c.ListTopicRules(ctx, &iot.ListTopicRulesInput{RuleDisabled: aws.Bool(true)})
	if err != nil || len(list.Rules) != 1 || *list.Rules[0].TopicPattern != "data/a" {
		t.Errorf("rules: %+v %v", list, err)
	}
	_, err = c.DeleteTopicRule(ctx, &iot.DeleteTopicRuleInput{RuleName: aws.String("to_b")})
	wantCode(t, err, "")
}

// TestFunctionFailures runs a bootstrap that is only a shell script, and so never
// asks for an event.
func TestFunctionFailures(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join(dir, "bootstrap")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho starting $AWS_LAMBDA_FUNCTION_NAME\nexit 3\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	s := startSim(t, func(c *Config) { c.Functions = map[string]Function{"broken": {Path: script}} })
	c := s.client(first, region)
	ca := newCA(t, "Function CA")
	caID := ca.mustRegister(t, c)
	_, err := c.CreateTopicRule(ctx, &iot.CreateTopicRuleInput{RuleName: aws.String("r"), TopicRulePayload: &types.TopicRulePayload{
		Sql:     aws.String("SELECT * FROM '$aws/events/certificates/registered/" + caID + "'"),
		Actions: []types.Action{{Lambda: &types.LambdaAction{FunctionArn: aws.String("arn:aws:lambda:eu-central-1:111122223333:function:broken")}}}}})
	wantCode(t, err, "")
	if _, err := connect(t, s, ca.issue(t, pkix.Name{CommonName: "d"}), "d", withChain(ca)); err == nil {
		t.Error("connected")
	}
	wait(t, "the event to be dropped", func() bool { return len(eventsOf(t, s, "lambda.dropped")) == 1 })
	if n := len(eventsOf(t, s, "lambda.failed")); n != lambdaAttempts {
		t.Errorf("%d attempts, want %d", n, lambdaAttempts)
	}
	if e := eventsOf(t, s, "lambda.log"); len(e) == 0 || e[0].Message != "starting broken" {
		t.Errorf("log: %+v", e)
	}
}
