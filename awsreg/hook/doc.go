// Package hook decides what mintmark's Lambda functions decide, without Lambda.
//
// A Lambda cannot ask the factory, which may be offline. Everything it relies on
// was pushed before: the manifest, a DynamoDB table with an entry for each
// certificate, a mark for each revocation and each hold, the work orders with
// their claims and devices, and a head that says how old all of it is. What
// cannot be decided from it is refused, and so is everything once it is too old.
//
//	Activator    a certificate arrived by just-in-time registration
//	Provisioner  a claim certificate wants to make a device of a certificate
//	Rotator      a device wants its next certificate
//	Presence     a device has connected, perhaps with its next certificate
//	Monitor      devices whose certificates are past their period are told
//	Provider     a certification request is to be answered in AWS's place
//	Callback     a certificate connects: is it revoked or held?
//
// None of them keeps anything between two events that a decision depends on, so
// that any number of processes of a function act as one. What only one may do is
// decided by conditions in the table, in one transaction.
//
// Provider asks a server of mintmark, through EST, and does not sign by itself,
// with a key in a cloud KMS for instance: a certificate would exist that the
// ledger does not know, that no revocation list would ever name, and that no
// order would count. The key of the issuing CA behind that server may be in a
// cloud KMS.
package hook
