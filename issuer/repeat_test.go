package issuer_test

import (
	"bytes"
	"crypto/x509/pkix"
	"testing"

	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// TestServerNamesChange asks for a server's certificate again, with the same key
// and other names: the earlier certificate is no answer to that.
func TestServerNamesChange(t *testing.T) {
	ra := newRA(t, newLedger(t), func(*issuer.Config) {})
	withHierarchy(t, ra)
	key := pkitest.NewKey(t)
	var answers [2]issuer.Answer
	for i, name := range []string{"a.example", "b.example"} {
		answer, err := ra.Enroll(t.Context(), issuer.Request{
			Profile: "server", Issuer: "issuing", Requester: admin, Authorize: issuer.Trusted,
			CSR: pkitest.CSR(t, key, pkix.Name{CommonName: name}, name),
		})
		if err != nil {
			t.Fatal(err)
		}
		answers[i] = answer
	}
	if bytes.Equal(answers[0].Certificate.Raw, answers[1].Certificate.Raw) || answers[1].Certificate.DNSNames[0] != "b.example" {
		t.Errorf("asking for b.example gave %v", answers[1].Certificate.DNSNames)
	}
}
