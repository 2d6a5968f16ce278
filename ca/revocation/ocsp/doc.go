// Package ocsp answers questions about single certificates: RFC 6960, in the
// profile of RFC 5019 for who wants answers that were signed beforehand, with
// the nonce of RFC 9654 for who wants one that was not.
//
// The key of an authority signs no answer. It certifies a responder, which each
// server makes for itself in memory, for days (RFC 6960, Section 4.2.2.2). An answer
// is signed when it is first asked for, kept, and signed anew before it ends
// as long as it is asked for. What keeps it honest is the ledger's list of what
// has changed, read every second: whatever it names is dropped, and an answer that
// is being signed at that moment is not kept.
//
// Who asks is not known, so that what is not kept is bounded: for each address, for all
// of them, in processors, and for serial numbers that nobody was ever given, which are
// signed a few times a second and answered without a signature beyond that.
//
// It knows nothing of how a certificate is issued: Config.Issue makes the
// responder's.
package ocsp
