package awssim

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/aws/aws-sdk-go-v2/service/iotdataplane"
	paho "github.com/eclipse/paho.mqtt.golang"
)

// TestPublishOverHTTP: by the SDK and by the command, to subscribers, rules, and one
// rule by Basic Ingest.
func TestPublishOverHTTP(t *testing.T) {
	s := startSim(t)
	c := s.client(first, region)
	data := iotdataplane.New(iotdataplane.Options{
		Region: region, BaseEndpoint: aws.String(s.ControlURL()), Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider(first.AccessKeyID, first.SecretAccessKey, ""),
	})
	ca := newCA(t, "Data CA")
	ca.mustRegister(t, c)
	dev, _, _ := activeDevice(t, c, ca, "dev")
	allowEverything(t, c)
	_, err := c.CreateTopicRule(ctx, &iot.CreateTopicRuleInput{RuleName: aws.String("echo"), TopicRulePayload: &types.TopicRulePayload{
		Sql:     aws.String("SELECT *, clientid() AS client, topic() AS topic FROM 'cmd/#'"),
		Actions: []types.Action{{Republish: &types.RepublishAction{Topic: aws.String("echo/${topic(2)}"), RoleArn: aws.String("r")}}}}})
	wantCode(t, err, "")
	d, err := connect(t, s, dev, "dev")
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 10)
	err = done(t, d.SubscribeMultiple(map[string]byte{"cmd/#": 1, "echo/#": 1, "kept": 1}, func(_ paho.Client, m paho.Message) { got <- m.Topic() + " " + string(m.Payload()) }))
	if err != nil {
		t.Fatal(err)
	}
	publish := func(topic, payload string, change ...func(*iotdataplane.PublishInput)) error {
		in := &iotdataplane.PublishInput{Topic: &topic, Payload: []byte(payload)}
		for _, f := range change {
			f(in)
		}
		_, err := data.Publish(ctx, in)
		return err
	}
	want := func(texts ...string) {
		t.Helper()
		left := map[string]bool{}
		for _, w := range texts {
			left[w] = true
		}
		for range texts {
			if m := receive(t, got); !left[m] {
				t.Errorf("received %s, want one of %v", m, left)
			} else {
				delete(left, m)
			}
		}
	}
	wantCode(t, publish("cmd/dev/alerts", `{"msg":"rotate_cert"}`, func(in *iotdataplane.PublishInput) { in.Qos = 1 }), "")
	want(`cmd/dev/alerts {"msg":"rotate_cert"}`, `echo/dev {"client":"n/a","msg":"rotate_cert","topic":"cmd/dev/alerts"}`)
	wantCode(t, publish("$aws/rules/echo/cmd/dev", `{}`), "")
	want(`echo/dev {"client":"n/a","topic":"cmd/dev"}`)
	mustCLI(t, s, "iot-data", "publish", "--topic", "cmd/cli", "--cli-binary-format", "raw-in-base64-out", "--payload", `{"n":1}`)
	want(`cmd/cli {"n":1}`, `echo/cli {"client":"n/a","n":1,"topic":"cmd/cli"}`)

	wantCode(t, publish("kept", "still here", func(in *iotdataplane.PublishInput) { in.Retain = true }), "")
	want("kept still here")
	kept, err := data.GetRetainedMessage(ctx, &iotdataplane.GetRetainedMessageInput{Topic: aws.String("kept")})
	if err != nil || string(kept.Payload) != "still here" || *kept.Topic != "kept" || kept.LastModifiedTime < 1e12 {
		t.Errorf("retained: %+v %v", kept, err)
	}
	_, err = data.GetRetainedMessage(ctx, &iotdataplane.GetRetainedMessageInput{Topic: aws.String("cmd/cli")})
	wantCode(t, err, "ResourceNotFoundException")

	for topic, code := range map[string]string{
		"a/#": "InvalidRequestException", "a/+": "InvalidRequestException", strings.Repeat("x", 257): "InvalidRequestException", "1/2/3/4/5/6/7/8/9": "InvalidRequestException",
		"$aws/things/t/shadow/update": "SimulatorNotImplemented", "$aws/rules/echo": "InvalidRequestException",
	} {
		if err := publish(topic, "{}"); err == nil {
			t.Errorf("published to %s", topic)
		} else {
			wantCode(t, err, code)
		}
	}
	wantCode(t, publish("a", strings.Repeat("x", maxMessage+1)), "InvalidRequestException")
	wantCode(t, publish("a", "", func(in *iotdataplane.PublishInput) { in.Qos = 2 }), "InvalidRequestException")
	wantCode(t, publish("a", "", func(in *iotdataplane.PublishInput) { in.ContentType = aws.String("text/plain") }), "SimulatorNotImplemented")
	wantCode(t, publish("a", "", func(in *iotdataplane.PublishInput) { in.CorrelationData = aws.String("eA==") }), "SimulatorNotImplemented")
	wantCode(t, publish("$aws/rules/echo/cmd/x", "", func(in *iotdataplane.PublishInput) { in.Retain = true }), "InvalidRequestException")
	_, err = data.GetThingShadow(ctx, &iotdataplane.GetThingShadowInput{ThingName: aws.String("t")})
	wantCode(t, err, "SimulatorNotImplemented")
}
