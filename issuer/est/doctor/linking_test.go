package doctor

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"mintmark/issuer/est"
	"net/http"
	"net/http/httptest"
)

// linking is a label that demands proof-of-possession linking.
var linking = setting{
	label:  func(_ *world, l *est.Label) { l.ProofOfPossession = est.ProofRequired },
	config: func(_ *world, c *Config) { c.Linked = true },
}

func proofOff(l *est.Label) { l.ProofOfPossession = est.ProofOff }

var linkingTests = []pointTest{
	{45, setting{}, []mutant{
		{name: "passed over", label: proofOff},
		{name: "never right", handler: refusing(func(r *http.Request) bool {
			der, err := base64.StdEncoding.DecodeString(string(body(r)))
			return err == nil && bytes.Contains(der, encodeOID(oidChallengePassword))
		})},
	}},
	{46, linking, []mutant{
		{name: "optional", label: func(l *est.Label) { l.ProofOfPossession = est.ProofOptional }},
		{name: "no word", handler: onStatus(400, func(a *httptest.ResponseRecorder) { replace(a, 400, "") })},
	}},
	{47, linking, []mutant{
		{name: "nothing announced", handler: before(func(_ *world, w http.ResponseWriter, r *http.Request) bool {
			if isOp(r, "csrattrs") {
				w.WriteHeader(http.StatusNoContent)
				return true
			}
			return false
		})},
		{name: "something else announced", handler: attributesBody(encodeOID(oidExtensionRequest))},
	}},
	{48, setting{}, []mutant{
		{name: "anything goes", label: proofOff},
		{name: "nothing goes", handler: refusing(func(r *http.Request) bool {
			der, err := base64.StdEncoding.DecodeString(string(body(r)))
			return err == nil && r.TLS.Version == tls.VersionTLS13 && bytes.Contains(der, encodeOID(oidChallengePassword))
		})},
	}},
	{49, setting{}, []mutant{{name: "anything goes", label: proofOff}}},
	{50, setting{}, []mutant{{name: "500", handler: before(func(w *world, rw http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost && len(r.TLS.PeerCertificates) > 0 && r.TLS.PeerCertificates[0].Equal(w.registrar.Leaf) {
			rw.WriteHeader(http.StatusInternalServerError)
			return true
		}
		return false
	})}}},
}

// narrow is a label whose profile takes one type of key.
var narrow = setting{label: func(_ *world, l *est.Label) { l.Profile = "p256" }}

var attributeTests = []pointTest{
	{69, setting{}, []mutant{{name: "401", handler: before(func(_ *world, w http.ResponseWriter, r *http.Request) bool {
		if isOp(r, "csrattrs") {
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		return false
	})}}},
	{70, setting{}, []mutant{
		{name: "text", handler: when("csrattrs", func(a *httptest.ResponseRecorder) { replace(a, 200, "nothing") })},
		{name: "no SEQUENCE", handler: when("csrattrs", func(a *httptest.ResponseRecorder) {
			replace(a, 200, "BAA=")
			a.Header()["Content-Type"] = []string{"application/csrattrs"}
		})},
		{name: "500", handler: when("csrattrs", func(a *httptest.ResponseRecorder) { a.Code = 500 })},
	}},
	{71, narrow, []mutant{
		{name: "nothing announced", handler: when("csrattrs", func(a *httptest.ResponseRecorder) { replace(a, 204, ""); a.Header().Del("Content-Length") })},
		{name: "no key announced", handler: attributesBody(encodeOID(oidChallengePassword))},
	}},
	{72, narrow, []mutant{
		{name: "two", handler: attributesBody(attribute(oidExtensionRequest, extensions(extension("2.5.29.37", []byte{1}))), attribute(oidExtensionRequest, extensions(extension("2.5.29.17", []byte{1}))))},
		{name: "two values", handler: attributesBody(attribute(oidExtensionRequest, extensions(extension("2.5.29.17", []byte{1})), extensions(extension("2.5.29.37", []byte{1}))))},
		{name: "twice the same", handler: attributesBody(attribute(oidExtensionRequest, extensions(extension("2.5.29.17", []byte{1}), extension("2.5.29.17", []byte{2}))))},
		{name: "no Extensions", handler: attributesBody(attribute(oidExtensionRequest, encodeOID("2.5.29.17")))},
	}},
	{73, narrow, []mutant{
		{name: "two", handler: attributesBody(attribute(oidECPublicKey, encodeOID("1.2.840.10045.3.1.7")), attribute(oidECPublicKey, encodeOID("1.3.132.0.34")))},
		{name: "a curve alone", handler: attributesBody(encodeOID("1.2.840.10045.3.1.7"))},
		{name: "no number", handler: attributesBody(attribute(oidRSA, encodeOID("1.3.132.0.34")))},
	}},
	{74, narrow, []mutant{
		{name: "version 1", handler: attributesBody(attribute(oidTemplate, tlv(tagSequence, []byte{tagInteger, 1, 1}, tlv(tagSequence), tlv(0xa1))))},
		{name: "two", handler: attributesBody(attribute(oidTemplate, tlv(tagSequence, []byte{tagInteger, 1, 0}, tlv(0xa1))), attribute(oidTemplate, tlv(tagSequence, []byte{tagInteger, 1, 0}, tlv(0xa1))))},
		{name: "no name", handler: attributesBody(attribute(oidTemplate, tlv(tagSequence, []byte{tagInteger, 1, 0}, tlv(tagSequence, tlv(tagOctets)), tlv(0xa1))))},
		{name: "two requests for extensions", handler: attributesBody(attribute(oidTemplate, tlv(tagSequence, []byte{tagInteger, 1, 0}, tlv(0xa1,
			attribute(oidExtensionRequest, extensions(extension("2.5.29.17", []byte{1}))), attribute(oidExtensionTemplate, extensions(extension("2.5.29.17", []byte{1})))))))},
	}},
	{75, narrow, []mutant{{name: "announces another", handler: attributesBody(attribute(oidRSA, []byte{tagInteger, 2, 8, 0}))}}},
	{96, setting{}, []mutant{
		{name: "empty SEQUENCE", handler: attributesBody()},
		{name: "empty body", handler: when("csrattrs", func(a *httptest.ResponseRecorder) {
			replace(a, 200, "")
			a.Header()["Content-Type"] = []string{"application/csrattrs"}
		})},
	}},
}
