// Package inventory says which devices and work orders there may be: it reads
// device lists, checks the specification of a work order, and checks a device
// against what its order allows.
//
// It holds no database and no HTTP. What changes while requests are answered
// (state, window and quota of an order, holds of a device) is checked by the
// ledger, inside the transaction that records an intent.
package inventory
