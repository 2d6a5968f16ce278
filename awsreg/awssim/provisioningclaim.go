package awssim

import (
	"encoding/json"
	"time"
)

// claimLife is how long a temporary provisioning claim is good (AWS IoT developer
// guide, provision-wo-cert, "Provisioning by trusted user").
const claimLife = 5 * time.Minute

// provisioningClaim is a temporary claim of CreateProvisioningClaim. Its certificate
// is in no list of certificates, and it is good for one template.
type provisioningClaim struct {
	cert     *certificate
	template string
	expires  time.Time
	policy   *policyDoc
}

func createProvisioningClaim(c *call) (any, error) {
	t, err := c.w.findTemplate(c.path["templateName"])
	if err != nil {
		return nil, err
	}
	if t.kind != fleetTemplate {
		return nil, invalid("The provisioning template %s is not of type %s", t.name, fleetTemplate)
	}
	if err := room(c.w.fleet.claims, "provisioning claims"); err != nil {
		return nil, err
	}
	var keys keyPair
	name := t.name
	pub, err := c.newKeys(&keys)
	if err != nil {
		return nil, err
	}
	expires := c.w.now().Add(claimLife).Truncate(time.Second)
	cert, err := c.w.issueKeys(pub, expires)
	if err != nil {
		return nil, err
	}
	doc, err := c.w.claimPolicy(name)
	if err != nil {
		return nil, err
	}
	claim := &provisioningClaim{template: name, expires: expires, policy: doc}
	claim.cert = &certificate{
		id: certificateID(cert), cert: cert, status: statusActive, mode: modeDefault, claim: claim,
		created: c.w.now(), modified: c.w.now(), version: 1, generation: randomID(),
	}
	c.w.fleet.claims[claim.cert.id] = claim
	c.w.fleet.claimQueue = append(c.w.fleet.claimQueue, claim)
	return map[string]any{
		"certificateId": claim.cert.id, "certificatePem": pemOf(cert), "keyPair": keys, "expiration": epoch(expires),
	}, nil
}

// claimPolicy is what a temporary claim may do: connect, and provision with its own
// template. AWS says that it can do no more, and not in which words.
func (w *world) claimPolicy(template string) (*policyDoc, error) {
	topics := func(kind string) []string {
		return []string{
			w.arn("iot", kind+"/$aws/certificates/create/*"), w.arn("iot", kind+"/$aws/certificates/create-from-csr/*"),
			w.arn("iot", kind+"/$aws/provisioning-templates/"+template+"/provision/*"),
		}
	}
	text, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": []map[string]any{
		{"Effect": "Allow", "Action": "iot:Connect", "Resource": "*"},
		{"Effect": "Allow", "Action": []string{"iot:Publish", "iot:Receive"}, "Resource": topics("topic")},
		{"Effect": "Allow", "Action": "iot:Subscribe", "Resource": topics("topicfilter")},
	}})
	if err != nil {
		return nil, err
	}
	return parsePolicy(string(text))
}

// lookupCert finds a certificate that a device connects with: a registered one or a
// temporary claim. The caller holds w.mu.
func (w *world) lookupCert(id string) (*certificate, bool) {
	if cert, ok := w.certs[id]; ok {
		return cert, true
	}
	if claim, ok := w.fleet.claims[id]; ok && w.now().Before(claim.expires) {
		return claim.cert, true
	}
	return nil, false
}
