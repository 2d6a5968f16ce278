package ledger

import "time"

// Rollover is the change from one root CA to another. While it runs, relying
// parties are given the certificates that lead from either to the other (RFC
// 7030, Section 4.1.3; RFC 4210, Section 4.4).
type Rollover struct {
	Old, New   string // names of the two roots
	OldWithNew []byte // DER: the old root's key, certified by the new one
	NewWithOld []byte // DER: the new root's key, certified by the old one; empty after a compromise of the old key
	At         time.Time
	Actor      string
	EndedAt    time.Time // zero while it runs
	EndedBy    string
}
