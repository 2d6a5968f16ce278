// Package webhook asks a service of the operator's whether a requester may have
// a certificate: issuer.Webhook over HTTPS.
//
// # The question
//
// One POST for each request, with Content-Type application/json:
//
//	{
//	  "version": 1,
//	  "id": "6VJ3K...",                      repeated in the answer
//	  "at": "2026-11-22T06:48:22Z",
//	  "server": "line-1",
//	  "operation": "est simpleenroll",
//	  "label": "line",                       EST label, "" for none
//	  "profile": "device",
//	  "device": "press-17",
//	  "subject": "CN=press-17,O=Example",    RFC 4514
//	  "names": ["DNS:press-17.example"],     subject alternative names
//	  "key": "9f86d0...",                    SHA-256 of the SubjectPublicKeyInfo, hexadecimal
//	  "requester": {"kind": "password", "name": "factory", "address": "10.1.2.3"},
//	  "csr": "MIIB..."                       base64 of the DER
//	}
//
// Further fields may come without another version; what is there keeps its
// meaning. The service knows that we ask either by our TLS client certificate or
// by a header over the exact bytes of the body:
//
//	Mintmark-Signature: t=1795330102,v1=HEX
//
// HEX is HMAC-SHA256, with the shared secret, of the digits of t, a full stop and
// the body. A service that compares t with its clock refuses recorded questions.
//
// # The answer
//
// Status 200, Content-Type application/json, at most 4096 bytes:
//
//	{"version": 1, "id": "6VJ3K...", "decision": "allow", "reason": "..."}
//
// The decision is allow, deny or hold (a person decides). The reason may be left
// out and has at most 200 bytes; the requester of a denied request reads it. A
// field that is not listed here, is there twice or has another type makes the
// answer none, and so does an id that is not the question's: a cache, or an answer
// that was crossed with another, must not admit a device.
//
// # What it does not do
//
// It follows no redirect, which could lead anywhere, and asks once: the device
// repeats its request anyway. It uses no proxy of the environment, because what a
// service manager happens to set there must not come between us and who decides; a
// proxy that is needed can be named as the URL's host. Every failure is an error,
// on which the issuer refuses.
package webhook
