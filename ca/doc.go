// Package ca is the engine of the certification authority: an Authority is a
// CA certificate, the chain above it and the key that signs for it.
//
// It exists so that exactly one path leads to a signature. Prepare builds the
// to-be-signed certificate and lints it without touching the key; it returns
// a one-use token. The caller makes the intent durable, says so with
// Recorded, and only then does Issue sign. Whatever entered Prepare is what
// comes out of Issue: the signed bytes are compared with the prepared ones.
// The numbers of the steps in comments are those of the issuance cycle:
//
//	4 build the to-be-signed certificate        Prepare
//	5 lint it under a dummy signature           Prepare
//	6 record the intent                         the caller, then Recorded
//	7 sign                                      Issue
//	8 compare and verify                        Issue
//
// The package knows no database, no protocol and no profile: who may have
// which certificate is decided before it, and where certificates are kept
// after it. What it refuses it refuses for reasons that hold for every
// certificate: RFC 5280, the limits of the issuing certificate, weak keys.
package ca
