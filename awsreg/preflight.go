package awsreg

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Severity sorts findings.
type Severity string

const (
	// Refused: AWS is known to refuse it; Apply does not try.
	Refused Severity = "refused"
	// Uncertain: AWS does not document whether it accepts it.
	Uncertain Severity = "uncertain"
	// Advice: AWS accepts it, and it is a mistake all the same.
	Advice Severity = "advice"
)

// Finding is one thing that is wrong before any call was made.
type Finding struct {
	Severity Severity
	Rule     string // from a closed set
	Subject  string // what it is about
	AWS      string // what AWS says of it, as far as that is known
	Text     string // what to do
}

func (f Finding) String() string {
	if f.AWS == "" {
		return fmt.Sprintf("%s: %s", f.Subject, f.Text)
	}
	return fmt.Sprintf("%s: AWS would say %q: %s", f.Subject, f.AWS, f.Text)
}

// refusedBy joins the findings that AWS is known to refuse.
func refusedBy(findings []Finding) string {
	var lines []string
	for _, f := range findings {
		if f.Severity == Refused {
			lines = append(lines, f.String())
		}
	}
	return strings.Join(lines, "; ")
}

// Doctor returns every finding on a target. It makes no call.
func (r *Registrar) Doctor(ctx context.Context, t Target) ([]Finding, error) {
	if err := t.Validate(); err != nil {
		return nil, err
	}
	var findings []Finding
	policies, err := t.Policies()
	if err != nil {
		findings = append(findings, Finding{Refused, "policy-conflict", "IoT policies", "", err.Error() + ": give one of them another name"})
	}
	for _, p := range preflightTarget(t) {
		findings = append(findings, p.list...)
	}
	for _, p := range policies {
		findings = append(findings, preflightPolicy(p.Name, p.Document)...)
	}
	subjects := make(map[string][]string)
	for _, ca := range t.CAs {
		issuer, err := r.issuer(ctx, ca.Issuer)
		if err != nil {
			return nil, err
		}
		findings = append(findings, Preflight(issuer, t, ca, r.cfg.Now())...)
		if ca.Mode != ModeNone && ca.state() != StateDeleted {
			subject := string(issuer.Certificate.RawSubject)
			if subjects[subject] = append(subjects[subject], ca.Issuer); len(subjects[subject]) == sameSubject+1 {
				findings = append(findings, Finding{Refused, "same-subject", fmt.Sprintf("CA %q", ca.Issuer), overLimit,
					fmt.Sprintf("an account takes ten with the same subject in a region, and the target has more with the subject %q", issuer.Certificate.Subject)})
			}
		}
	}
	return findings, nil
}

// Preflight predicts what AWS would say to the registration of one CA. One that
// is not to be registered, or not any more, has no findings.
func Preflight(issuer Issuer, t Target, ca CA, now time.Time) []Finding {
	p := &findings{subject: fmt.Sprintf("CA %q", issuer.Name)}
	if !ca.registered() {
		return nil
	}
	c := issuer.Certificate

	// https://docs.aws.amazon.com/iot/latest/developerguide/manage-your-CA-certs.html
	if !c.BasicConstraintsValid || !c.IsCA {
		p.refused("ca-true", "CA certificate is not valid. The CA certificate does not have the basicConstraints extension as true",
			"register the issuing CA's certificate, not an end-entity certificate")
	}
	if now.Before(c.NotBefore) {
		p.refused("validity", "CA certificate is not valid", "it is valid only from %s: check the clocks, or wait", c.NotBefore.Format(time.RFC3339))
	}
	if now.After(c.NotAfter) {
		p.refused("validity", "CA certificate is not valid", "it expired at %s: create its successor", c.NotAfter.Format(time.RFC3339))
	}
	p.key(c)
	p.signature(c)
	if n := len(certificatePEM(c.Raw)); n > 65536 {
		p.refused("size", "Value at 'caCertificate' failed to satisfy constraint: Member must have length less than or equal to 65536", "the certificate is %d characters long in PEM", n)
	}
	if ca.Use == UseJITP && ca.JITP != nil {
		p.jitp(issuer, *ca.JITP)
	}
	return p.list
}

type findings struct {
	subject    string
	kind, name string // of the resource that is refused for them
	list       []Finding
}

func (p *findings) add(severity Severity, rule, says, format string, args ...any) {
	p.list = append(p.list, Finding{severity, rule, p.subject, says, fmt.Sprintf(format, args...)})
}

func (p *findings) refused(rule, says, format string, args ...any) {
	p.add(Refused, rule, says, format, args...)
}

func (p *findings) key(c *x509.Certificate) {
	const says = "the key in the certificate is not valid"
	switch key := c.PublicKey.(type) {
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < 2048 {
			p.refused("key", says, "its RSA key has %d bits; AWS wants at least 2048", bits)
		}
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256(), elliptic.P384():
		case elliptic.P521():
			p.add(Uncertain, "key", "", "its key is on P-521, which not every version of AWS's documentation lists; P-256 and P-384 are safe")
		default:
			p.refused("key", says, "its key is on %s; use P-256 or P-384", key.Curve.Params().Name)
		}
	default:
		p.refused("key", says, "its key is %s; AWS takes RSA and ECDSA", c.PublicKeyAlgorithm)
	}
}

// https://docs.aws.amazon.com/iot/latest/developerguide/x509-client-certs.html
func (p *findings) signature(c *x509.Certificate) {
	switch c.SignatureAlgorithm {
	case x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA, x509.DSAWithSHA256,
		x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512:
	case x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS:
		p.add(Uncertain, "signature", "", "it is signed with %s, which not every version of AWS's documentation lists", c.SignatureAlgorithm)
	default:
		p.refused("signature", "CA certificate is not valid", "it is signed with %s; AWS takes SHA-256, SHA-384 and SHA-512 with RSA or ECDSA", c.SignatureAlgorithm)
	}
}

func (p *findings) jitp(issuer Issuer, j JITP) {
	p.role("registrationConfig.roleArn", j.RoleARN, "")
	body, err := Template(issuer, j)
	if err != nil {
		p.refused("template-parameter", fmt.Sprintf("Cannot resolve reference value: {Ref=%s%s}", certificateParameter, j.thingName()), "%v", err)
		return
	}
	if len(body) > 10240 {
		p.refused("template-size", "Value at 'registrationConfig.templateBody' failed to satisfy constraint: Member must have length less than or equal to 10240", "the template is %d characters long", len(body))
	}
}

// preflightPolicy predicts what AWS would say to an IoT policy.
func preflightPolicy(name, document string) []Finding {
	p := &findings{subject: fmt.Sprintf("IoT policy %q", name)}
	if !policyNamePattern.MatchString(name) {
		p.refused("policy-name", `Value at 'policyName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\w+=,.@-]+`, "use 1 to 128 letters, digits and + = , . @ _ -")
	}
	if len(document) > 2048 {
		p.refused("policy-size", "Policy document is too long", "it is %d characters long; AWS takes 2048", len(document))
	}
	var doc struct {
		Statement []struct{ Effect, Action, Resource any }
	}
	if err := json.Unmarshal([]byte(document), &doc); err != nil {
		p.refused("policy-syntax", "Policy document is Malformed", "%v", err)
		return p.list
	}
	if len(doc.Statement) == 0 {
		p.refused("policy-syntax", "Policy document is Malformed", "it has no statement")
	}
	for i, s := range doc.Statement {
		for _, action := range texts(s.Action) {
			// A published sample has this one; it grants nothing.
			if strings.EqualFold(action, "iot:PublishRetain") {
				p.add(Advice, "policy-action", "", "statement %d: there is no action %s; it is called iot:RetainPublish", i+1, action)
			}
		}
		for _, resource := range texts(s.Resource) {
			if resource == "*" && s.Effect == "Allow" {
				p.add(Advice, "policy-resource", "", `statement %d allows every resource ("*"): any device could act as any other`, i+1)
			}
		}
	}
	return p.list
}

// texts reads what a policy writes as one string or a list of them.
func texts(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		var out []string
		for _, e := range v {
			if s, ok := e.(string); ok {
				out = append(out, s)
			}
		}
		return out
	}
	return nil
}
