package est

import (
	"crypto/subtle"
	"crypto/tls"
	"encoding/base64"
	"net/http"

	"mintmark/internal/pkcs10"
)

// checkProof checks that the request was made on this TLS connection: RFC 7030,
// Section 3.5. Whoever relays the request of another could not have made it.
func (x *exchange) checkProof(who identity, csr []byte) error {
	policy := x.label.ProofOfPossession
	if policy == ProofOff {
		return nil
	}
	attributes, err := pkcs10.ParseAttributes(csr)
	if err != nil {
		f := fail(http.StatusBadRequest, ruleAttributes, "the attributes of the certification request cannot be read: %v", err)
		return f
	}
	switch {
	case !attributes.Linked && policy == ProofRequired:
		return fail(http.StatusBadRequest, ruleProofMissing, "the certification request must be linked to this connection: %s", howToLink(x.r.TLS))
	case !attributes.Linked:
		return nil
	case linked(x.r.TLS, attributes.ChallengePassword):
		return nil
	case who.ra:
		// Section 3.7: what the registration authority passes on was linked to the
		// device's connection with it, which it has checked.
		return nil
	case len(bindings(x.r.TLS)) == 0:
		return fail(http.StatusBadRequest, ruleProofTLS, "the challengePassword of the certification request cannot be checked: %s", howToLink(x.r.TLS))
	}
	return fail(http.StatusBadRequest, ruleProof, "the challengePassword of the certification request does not link it to this connection: %s", howToLink(x.r.TLS))
}

// howToLink says what a client has to send on a connection.
func howToLink(c *tls.ConnectionState) string {
	switch {
	case len(bindings(c)) == 0:
		return "this TLS 1.2 connection has no extended master secret (RFC 7627), without which nothing can be linked to it; offer that extension, or use TLS 1.3"
	case c.Version >= tls.VersionTLS13:
		return "TLS 1.3 has no tls-unique, so challengePassword must be the base64 of 32 octets exported from this connection with the label EXPORTER-Channel-Binding and no context (RFC 9266); a client that knows only tls-unique has to connect with TLS 1.2"
	}
	return "challengePassword must be the base64 of the tls-unique of this connection (RFC 5929), so the request has to be made anew for each connection"
}

// linked reports whether a challengePassword is one of the connection's
// bindings.
func linked(c *tls.ConnectionState, password string) bool {
	match := 0
	for _, b := range bindings(c) {
		want := base64.StdEncoding.EncodeToString(b)
		match |= subtle.ConstantTimeCompare([]byte(want), []byte(password))
	}
	return match == 1
}

// bindings are the values that stand for this connection and no other: the
// exporter of RFC 9266 and, with TLS 1.2, the tls-unique of RFC 5929. There are none
// without the extended master secret, because then somebody in between can bring
// about two connections with the same (RFC 7627, Section 1).
func bindings(c *tls.ConnectionState) [][]byte {
	if c == nil || !c.HandshakeComplete {
		return nil
	}
	// Go exports nothing without the extended master secret.
	exported, err := c.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
	if err != nil {
		return nil
	}
	list := [][]byte{exported}
	if c.Version != tls.VersionTLS12 {
		return list
	}
	// In TLS 1.2 no context and an empty one make a difference (RFC 5705, Section
	// 4), and implementations of RFC 9266 disagree about which it means.
	if exported, err := c.ExportKeyingMaterial("EXPORTER-Channel-Binding", []byte{}, 32); err == nil {
		list = append(list, exported)
	}
	if len(c.TLSUnique) > 0 {
		list = append(list, c.TLSUnique)
	}
	return list
}
