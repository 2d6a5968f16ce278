// Package issuer is mintmark's registration authority: it decides who gets
// which certificate, and it is the only way to one.
//
// RA.Enroll runs the issuance cycle, whose steps are numbered in the code and
// in docs/issuance-cycle.md alike. Whatever protocol a request comes by (EST,
// the administrative API, smallstep's CAS interface), it passes through the
// whole cycle: there is no way to reach a signature past the profile, the lint
// and the ledger.
package issuer
