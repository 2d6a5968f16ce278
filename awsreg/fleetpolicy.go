package awsreg

import "strings"

// thingVariable is the thing that the connection's certificate is attached to.
// https://docs.aws.amazon.com/iot/latest/developerguide/thing-policy-variables.html
const thingVariable = "${iot:Connection.Thing.ThingName}"

// Where devices ask for certificates. The first hands out a private key that AWS
// has made; the second is not covered by a pattern for the first.
// https://docs.aws.amazon.com/iot/latest/developerguide/fleet-provision-api.html
const (
	createKeysTopics = "$aws/certificates/create/*"
	createCSRTopics  = "$aws/certificates/create-from-csr/*"
)

func provisionTopics(template string) string {
	return "$aws/provisioning-templates/" + template + "/provision/*"
}

// FleetPolicy is the IoT policy that devices of a fleet get unless the
// configuration has another: connect as the thing that the certificate is
// attached to, and publish and subscribe below devices/<thing>/. With rotation
// they also hear where they are told to rotate, and may ask for their next
// certificate through the fleet's rotation template, and no other.
func FleetPolicy(t Target, f Fleet) string {
	p := newDevicePolicy(t)
	if t.Rotation != nil {
		p.hear(t.Rotation.alerts(thingVariable))
		p.talk(createCSRTopics, provisionTopics(f.rotationTemplate()))
	}
	return p.document()
}

// ClaimPolicy is the IoT policy of a fleet's claim certificates: ask for a
// certificate for a key that the device has made, and provision through the
// fleet's template. The client id is free, because a claim belongs to no thing
// and several stations may hold one.
//
// The topics that hand out private keys made by AWS ($aws/certificates/create/)
// are left out unless the fleet has AWSKeys: such a key has been outside its
// device, and has crossed the network, before its first use.
// https://docs.aws.amazon.com/iot/latest/developerguide/provision-wo-cert.html
func ClaimPolicy(t Target, f Fleet) string {
	p := &policyText{target: t}
	p.connect = statement{Effect: "Allow", Action: []string{"iot:Connect"}, Resource: []string{t.arn("iot", "client/*")}}
	if f.AWSKeys {
		p.talk(createKeysTopics)
	}
	p.talk(createCSRTopics, provisionTopics(f.Template))
	return p.document()
}

// policyText gathers an IoT policy in three statements. Topics stand as topic/
// where messages go and as topicfilter/ where subscriptions are asked for: a
// policy that mixes the two up grants nothing.
// https://docs.aws.amazon.com/iot/latest/developerguide/pub-sub-policy.html
type policyText struct {
	target             Target
	connect            statement
	publish, subscribe []string // topic patterns
	receive            []string // topic patterns that may only be heard
}

// newDevicePolicy lets a device connect as its own thing and use its own topics.
func newDevicePolicy(t Target) *policyText {
	p := &policyText{target: t, connect: statement{
		Effect: "Allow", Action: []string{"iot:Connect"},
		Resource: []string{t.arn("iot", "client/"+thingVariable)},
		// The variable is the client id's thing; the condition is what makes it
		// the certificate's.
		Condition: map[string]map[string]any{"Bool": {"iot:Connection.Thing.IsAttached": []string{"true"}}},
	}}
	p.talk("devices/" + thingVariable + "/*")
	return p
}

// talk allows both directions of topics.
func (p *policyText) talk(topics ...string) {
	p.publish = append(p.publish, topics...)
	p.subscribe = append(p.subscribe, topics...)
}

// hear allows to listen only.
func (p *policyText) hear(topic string) {
	p.receive = append(p.receive, topic)
	p.subscribe = append(p.subscribe, topic)
}

func (p *policyText) document() string {
	arns := func(kind string, topics []string) []string {
		out := make([]string, len(topics))
		for i, topic := range topics {
			out[i] = p.target.arn("iot", kind+"/"+topic)
		}
		return out
	}
	doc := policyDocument{Version: "2012-10-17", Statement: []statement{
		p.connect,
		{Effect: "Allow", Action: []string{"iot:Publish", "iot:Receive"}, Resource: arns("topic", p.publish)},
	}}
	if len(p.receive) > 0 {
		doc.Statement = append(doc.Statement, statement{Effect: "Allow", Action: []string{"iot:Receive"}, Resource: arns("topic", p.receive)})
	}
	doc.Statement = append(doc.Statement, statement{Effect: "Allow", Action: []string{"iot:Subscribe"}, Resource: arns("topicfilter", p.subscribe)})
	return encode(doc)
}

// alerts is the topic where a thing is told to rotate.
func (r Rotation) alerts(thing string) string {
	return strings.ReplaceAll(r.topic(), thingPlace, thing)
}
