package awssim

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"mintmark/internal/pattern"
)

// providerTimeout is how long a certificate provider's function may take (AWS IoT
// developer guide, provisioning-cert-provider).
const providerTimeout = 5 * time.Second

var (
	providerName = pattern.New(`^[\w=,@-]{1,128}$`)
	clientToken  = pattern.New(`^\S{36,64}$`)
)

// certificateProvider answers every CreateCertificateFromCsr, over MQTT and of the
// API. There is one in an account and region.
type certificateProvider struct {
	name        string
	function    string
	operations  []string
	clientToken string
	created     time.Time
	modified    time.Time
}

func (w *world) providerARN(name string) string { return w.arn("iot", "certificateprovider:"+name) }

func (w *world) findProvider(name string) (*certificateProvider, error) {
	if p := w.fleet.provider; p != nil && p.name == name {
		return p, nil
	}
	return nil, notFound("The certificate provider %s does not exist", clip(name, 128))
}

// providerName is the name of the provider, or no name at all.
func (f *fleetState) providerName() string {
	if f.provider == nil {
		return "" // no provider is called so
	}
	return f.provider.name
}

// checkProvider checks what Create and Update set.
func (w *world) checkProvider(function string, operations []string) error {
	if m := functionARN.FindStringSubmatch(function); m == nil || len(function) > 170 || m[1] != w.region || m[2] != w.account.ID {
		return invalid("lambdaFunctionArn must be the ARN of a function of this account and Region")
	}
	if len(operations) != 1 || operations[0] != "CreateCertificateFromCsr" {
		return invalid("accountDefaultForOperations must be [CreateCertificateFromCsr]")
	}
	return nil
}

func createCertificateProvider(c *call) (any, error) {
	var in struct {
		Function    string   `json:"lambdaFunctionArn"`
		Operations  []string `json:"accountDefaultForOperations"`
		ClientToken string   `json:"clientToken"`
		Tags        []tag    `json:"tags"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	name := c.path["certificateProviderName"]
	switch {
	case !providerName.MatchString(name):
		return nil, invalid("certificateProviderName %q: want 1 to 128 letters, digits or _=,@-", clip(name, 128))
	case in.ClientToken != "" && !clientToken.MatchString(in.ClientToken):
		return nil, invalid("clientToken must have 36 to 64 characters and no white space")
	}
	if err := c.w.checkProvider(in.Function, in.Operations); err != nil {
		return nil, err
	}
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	answer := map[string]string{"certificateProviderName": name, "certificateProviderArn": c.w.providerARN(name)}
	if old := c.w.fleet.provider; old != nil {
		switch {
		case old.name == name && in.ClientToken != "" && old.clientToken == in.ClientToken && old.function == in.Function:
			return answer, nil // the same request again
		case old.name == name:
			return nil, alreadyExists(name, c.w.providerARN(name), "The certificate provider %s already exists", name)
		}
		return nil, iotError("LimitExceededException", "An account has at most one certificate provider, and %s exists", old.name)
	}
	now := c.w.now()
	c.w.fleet.provider = &certificateProvider{
		name: name, function: in.Function, operations: in.Operations, clientToken: in.ClientToken, created: now, modified: now,
	}
	c.w.setTags(c.w.providerARN(name), in.Tags)
	return answer, nil
}

func describeCertificateProvider(c *call) (any, error) {
	p, err := c.w.findProvider(c.path["certificateProviderName"])
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"certificateProviderName": p.name, "certificateProviderArn": c.w.providerARN(p.name), "lambdaFunctionArn": p.function,
		"accountDefaultForOperations": p.operations, "creationDate": epoch(p.created), "lastModifiedDate": epoch(p.modified),
	}, nil
}

func updateCertificateProvider(c *call) (any, error) {
	var in struct {
		Function   string   `json:"lambdaFunctionArn"`
		Operations []string `json:"accountDefaultForOperations"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	p, err := c.w.findProvider(c.path["certificateProviderName"])
	if err != nil {
		return nil, err
	}
	if in.Function == "" {
		in.Function = p.function
	}
	if in.Operations == nil {
		in.Operations = p.operations
	}
	if err := c.w.checkProvider(in.Function, in.Operations); err != nil {
		return nil, err
	}
	p.function, p.operations, p.modified = in.Function, slices.Clone(in.Operations), c.w.now()
	return map[string]string{"certificateProviderName": p.name, "certificateProviderArn": c.w.providerARN(p.name)}, nil
}

func listCertificateProviders(c *call) (any, error) {
	if _, err := c.flag("isAscendingOrder"); err != nil {
		return nil, err
	}
	if c.query.Get("nextToken") != "" {
		return nil, invalid("Invalid nextToken") // there is never a second page
	}
	out := []map[string]string{}
	if p := c.w.fleet.provider; p != nil {
		out = append(out, map[string]string{"certificateProviderName": p.name, "certificateProviderArn": c.w.providerARN(p.name)})
	}
	return map[string]any{"certificateProviders": out}, nil
}

func deleteCertificateProvider(c *call) (any, error) {
	p, err := c.w.findProvider(c.path["certificateProviderName"])
	if err != nil {
		return nil, err
	}
	delete(c.w.tags, c.w.providerARN(p.name))
	c.w.fleet.provider = nil
	return nil, nil
}

// providerEvent is what a certificate provider's function is given.
type providerEvent struct {
	CertificateSigningRequest string `json:"certificateSigningRequest"`
	PrincipalID               string `json:"principalId"`
	ClientID                  string `json:"clientId"`
}

// askProvider has a certificate provider's function sign a certification request. How
// AWS shows the caller what goes wrong is not documented: here it is an internal
// failure. w.mu must not be held.
func (w *world) askProvider(p certificateProvider, csr *x509.CertificateRequest, text, principal, clientID string) (*x509.Certificate, error) {
	cert, err := w.signedByProvider(p, csr, text, principal, clientID)
	if err != nil {
		return nil, iotError("InternalFailureException", "%v", err)
	}
	return cert, nil
}

// signedByProvider checks what the function answers: the certificate must keep the
// request's subject and public key (AWS IoT developer guide,
// provisioning-cert-provider).
func (w *world) signedByProvider(p certificateProvider, csr *x509.CertificateRequest, text, principal, clientID string) (*x509.Certificate, error) {
	payload, err := json.Marshal(providerEvent{text, principal, clientID})
	if err != nil {
		return nil, err
	}
	reply, err := w.call(p.function, payload, providerTimeout)
	if err != nil {
		return nil, fmt.Errorf("the certificate provider %s: %w", p.name, err)
	}
	cert, err := parseProviderAnswer(reply)
	if err != nil {
		return nil, fmt.Errorf("the certificate provider %s: %w", p.name, err)
	}
	switch {
	case !bytes.Equal(cert.RawSubject, csr.RawSubject):
		return nil, fmt.Errorf("the certificate provider %s changed the subject of the certification request", p.name)
	case !bytes.Equal(cert.RawSubjectPublicKeyInfo, csr.RawSubjectPublicKeyInfo):
		return nil, fmt.Errorf("the certificate provider %s changed the public key of the certification request", p.name)
	}
	if err := checkKeyAndSignature("certificate", cert); err != nil {
		return nil, err
	}
	return cert, checkValidity("certificate", cert, w.now())
}

// parseProviderAnswer reads {"certificatePem": "..."}.
func parseProviderAnswer(reply []byte) (*x509.Certificate, error) {
	var out map[string]json.RawMessage
	if err := json.Unmarshal(reply, &out); err != nil {
		return nil, fmt.Errorf("its answer is not a JSON object: %s", clip(err.Error(), 200))
	}
	var text string
	if err := json.Unmarshal(out["certificatePem"], &text); err != nil || strings.TrimSpace(text) == "" {
		return nil, fmt.Errorf("its answer has no certificatePem")
	}
	return parseCertificate("certificatePem", text)
}
