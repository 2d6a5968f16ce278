package doctor

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"mintmark/dpsreg/attest"
)

// Warning is a rule of the doctor's own: DPS takes what it finds.
type Warning struct {
	Name  string
	Finds string
}

// Warnings lists the doctor's own rules.
func Warnings() []Warning { return slices.Clone(warnings) }

var warnings = []Warning{
	{"supposed", "what DPS has is not said, or only in part"},
	{"sort", "the chain in the right order would pass"},
	{"capitals", "capitals in the registration id: DPS does not tell them from small letters, IoT Hub does"},
	{"long-name", "a common name of more than 64 characters, which X.509 does not allow and IoT Edge cuts off"},
	{"expires-soon", "a certificate that expires within 30 days (--soon)"},
	{"outlives-issuer", "a device's certificate that is valid for longer than one above it"},
	{"duplicate", "a certificate that comes twice in the chain"},
	{"second-root", "more than one self-signed certificate in the chain"},
	{"gateway", "a device's certificate that an IoT Edge gateway has issued, under a group further up"},
}

// warn adds what DPS takes and is a mistake, or soon is one.
func (r *Report) warn(chain []*x509.Certificate, order []int, v attest.Verdict, o Options) {
	add := func(rule, format string, args ...any) {
		r.Findings = append(r.Findings, Finding{Severity: SeverityWarning, Rule: rule, Text: fmt.Sprintf(format, args...)})
	}
	device := chain[order[0]]
	if o.RegistrationID != strings.ToLower(o.RegistrationID) {
		add("capitals", "the registration id %s has capitals: DPS does not tell them from small letters, and IoT Hub does. Issue names in lower case only", quote(o.RegistrationID))
	}
	if n := len([]rune(device.Subject.CommonName)); n > attest.MaxCommonName {
		add("long-name", "the common name has %d characters; X.509 allows %d, and IoT Edge cuts it off there", n, attest.MaxCommonName)
	}
	used := chain
	if v.Path > 0 {
		used = chain[:v.Path]
	}
	for i, c := range used {
		if o.Now.After(c.NotAfter) && v.Rule != "expired" {
			r.Findings = append(r.Findings, Finding{Severity: SeverityUnknown, Rule: "expired", Text: fmt.Sprintf("certificate %d (%s) expired on %s: renew it", i+1, quote(c.Subject.CommonName), c.NotAfter.UTC().Format(time.DateOnly)), Unknown: attest.RuleOf("expired").Unknown})
		}
	}
	for _, c := range used {
		if left := c.NotAfter.Sub(o.Now); left >= 0 && left < o.Soon {
			add("expires-soon", "%s expires in %s, on %s: renew it", quote(c.Subject.CommonName), days(left), c.NotAfter.UTC().Format(time.DateOnly))
		}
	}
	for _, c := range used {
		if !c.Equal(device) && c.NotAfter.Before(device.NotAfter) && v.Individual == "" {
			r.Findings = append(r.Findings, Finding{Severity: SeverityWarning, Rule: "outlives-issuer", Text: fmt.Sprintf("%s expires on %s, before the device's certificate does: expect a refusal from then on", quote(c.Subject.CommonName), c.NotAfter.UTC().Format(time.DateOnly)), Unknown: attest.RuleOf("expired").Unknown})
			break
		}
	}
	r.repeated(chain, add)
	if issuer := issuerOf(device, chain); issuer != nil && v.Individual == "" && v.Anchor != 1 && gatewayName(issuer) {
		add("gateway", "the device's certificate is issued by the gateway %s. DPS has no rule against that: a group further up lets a gateway make devices. Have the CA of gateways under a root of its own, or in a group that is disabled", quote(issuer.Subject.CommonName))
	}
}

// repeated finds certificates that come twice, and roots.
func (r *Report) repeated(chain []*x509.Certificate, add func(rule, format string, args ...any)) {
	roots := 0
	for i, c := range chain {
		if before := slices.IndexFunc(chain[:i], c.Equal); before >= 0 {
			add("duplicate", "certificates %d and %d are the same (%s): leave one out", before+1, i+1, quote(c.Subject.CommonName))
			continue
		}
		if attest.SelfSigned(c) {
			roots++
		}
	}
	if roots > 1 {
		add("second-root", "the chain has %d roots: leave out those that the device's certificate does not come from", roots)
	}
}

// gatewayName reports whether a CA is named as IoT Edge names that of a gateway: "aziot-edge
// CA" and the device's id (https://github.com/Azure/iotedge, edgelet, edge_ca.rs).
func gatewayName(ca *x509.Certificate) bool {
	return strings.HasPrefix(ca.Subject.CommonName, "aziot-edge CA ")
}

func issuerOf(c *x509.Certificate, chain []*x509.Certificate) *x509.Certificate {
	i := slices.IndexFunc(chain, func(other *x509.Certificate) bool {
		return bytes.Equal(other.RawSubject, c.RawIssuer) && !other.Equal(c) && attest.Signed(c, other)
	})
	if i < 0 {
		return nil
	}
	return chain[i]
}
