// Package access says who may do what: the roles, the one table of operations,
// and the approvals of what needs two people.
//
// Everything is denied that the table does not allow. It holds no HTTP and no
// SQL: who a caller is was found out by whoever calls.
package access

import "slices"

// Role is a set of operations that a principal may do.
type Role string

const (
	// Operator runs the factory: devices, work orders, certificates.
	Operator Role = "operator"
	// Officer is a security officer: the hierarchy, people, approvals.
	Officer Role = "officer"
	// Auditor reads everything and changes nothing.
	Auditor Role = "auditor"
	// Station is a test PC on a line: it asks for certificates.
	Station Role = "station"
)

// Roles lists all, in the order of the table's columns.
var Roles = []Role{Operator, Officer, Auditor, Station}

// Operation is one thing that the administrative API does.
type Operation string

// The operations. Their names are in the table of docs/roles.md, in approvals,
// in refusals and in the log.
const (
	StatusRead Operation = "status.read"

	AuthorityRead   Operation = "authority.read"
	AuthorityCreate Operation = "authority.create" // a root or an issuing CA; its request and import, too
	AuthorityRevoke Operation = "authority.revoke"
	// AuthorityRollover certifies one root with another: who trusts either then
	// trusts both.
	AuthorityRollover Operation = "authority.rollover"
	CRLPublish        Operation = "crl.publish"
	// The rotation of a CA. To move it takes no two persons by way of a proposal: the
	// signatures of as many officers as its plan asks for, two at least, stand in the
	// rotation itself, over the hash of the plan and for each gate on its own, and nothing
	// moves through a gate without them. Stopping is for one: it must be quick, and takes
	// no CA away from a device. What lets in again a CA whose key is in wrong hands is
	// signed for in the rotation, too.
	RotationRead     Operation = "rotation.read"
	RotationPlan     Operation = "rotation.plan"
	RotationSign     Operation = "rotation.sign"
	RotationRun      Operation = "rotation.run"
	RotationRollback Operation = "rotation.rollback" // and pause and resume
	// RotationBring brings what was made elsewhere, as an import does (AuthorityCreate):
	// the plan that officers sign cannot name a certificate that is still to be made.
	RotationBring Operation = "rotation.bring"
	// RotationWaive takes devices out of the gates, which then count them as if they had
	// followed: a list that officers would have to read before they sign for a gate is
	// signed by two of them here.
	RotationWaive Operation = "rotation.waive"
	// RotationReport says for another system which devices have the new anchors. It counts
	// in the gates as a waiver does.
	RotationReport   Operation = "rotation.report"
	CertificateRead  Operation = "certificate.read"
	CertificateIssue Operation = "certificate.issue"
	// ServerIssue is apart: who holds the certificate of a server under the
	// devices' trust anchor can pose as this server, to devices and to officers.
	ServerIssue Operation = "certificate.issue-server"
	// RAIssue is like a CA's: who holds the certificate of a registration
	// authority can enroll any device at its labels, without asking anybody.
	RAIssue Operation = "certificate.issue-ra"
	// CertificateImport records certificates from before mintmark.
	CertificateImport Operation = "certificate.import"
	CertificateRevoke Operation = "certificate.revoke" // up to the configured number
	BulkRevoke        Operation = "certificate.revoke-many"

	DeviceRead   Operation = "device.read"
	DeviceImport Operation = "device.import"
	DeviceHold   Operation = "device.hold" // and release
	DeviceRetire Operation = "device.retire"

	// SecretChange makes, records and drops the one-time secrets of devices.
	SecretChange Operation = "secret.change"

	EnrollmentRead   Operation = "enrollment.read"
	EnrollmentDecide Operation = "enrollment.decide"

	OrderRead   Operation = "order.read"
	OrderCreate Operation = "order.create"
	OrderExtend Operation = "order.extend" // its window, and its credentials
	OrderRaise  Operation = "order.raise"  // its quantity
	OrderClose  Operation = "order.close"
	OrderKill   Operation = "order.kill"

	RefusalRead Operation = "refusal.read"

	CloudRead  Operation = "cloud.read"
	CloudApply Operation = "cloud.apply"
	// CloudRetire is what takes out of service: a CA that is deactivated or deleted
	// at a cloud, and the certificates under it that go with it; an enrollment group
	// that is disabled or deleted, or loses an anchor. Also what enables a group that is
	// disabled at the cloud.
	CloudRetire Operation = "cloud.retire"

	PrincipalRead   Operation = "principal.read"
	PrincipalChange Operation = "principal.change"
	// PrincipalEnroll issues a principal's TLS certificate for its recorded key.
	// The request is signed by that key, so that it gives nothing to whoever sends
	// it: the first officers get theirs through the operator of the host.
	PrincipalEnroll Operation = "principal.enroll"

	HSMRead Operation = "hsm.read"
	// HSMUnlock gives a token its PIN, or one's part of it: who does it must know
	// that, and gets nothing by it.
	HSMUnlock Operation = "hsm.unlock"
	// HSMUnlockFinal is that where the token says that one more wrong PIN locks it, and
	// with it every CA whose key is there.
	HSMUnlockFinal Operation = "hsm.unlock-final"

	ApprovalRead   Operation = "approval.read"
	ApprovalDecide Operation = "approval.decide"
)

// Rule is one row of the table.
type Rule struct {
	Operation Operation
	Words     string // what it is, for docs/roles.md
	Roles     []Role
	// TwoPersons: needs the signature of a second officer.
	TwoPersons bool
}

// Table is the one table of who may do what.
var Table = []Rule{
	{StatusRead, "see that the server is well", []Role{Operator, Officer, Auditor, Station}, false},
	{AuthorityRead, "see CAs, their certificates and CRLs", []Role{Operator, Officer, Auditor, Station}, false},
	{AuthorityCreate, "create, request, import or destroy a CA", []Role{Officer}, true},
	{AuthorityRevoke, "revoke the certificate of a CA", []Role{Officer}, true},
	{AuthorityRollover, "begin or end the rollover from one root to another", []Role{Officer}, true},
	{RotationRead, "see rotations of CAs, their plans and journals", []Role{Operator, Officer, Auditor}, false},
	{RotationPlan, "plan a rotation", []Role{Officer}, false},
	{RotationSign, "sign for a gate of a rotation", []Role{Officer}, false},
	{RotationRun, "move a rotation as far as its gates allow", []Role{Officer}, false},
	{RotationBring, "bring what a ceremony made for a rotation", []Role{Officer}, true},
	{RotationRollback, "pause, resume or roll back a rotation", []Role{Officer}, false},
	{RotationWaive, "take devices out of the gates of a rotation", []Role{Officer}, true},
	{RotationReport, "report which devices have the new anchors of a rotation", []Role{Officer}, true},
	{CRLPublish, "sign a CRL now, or import one that was signed elsewhere", []Role{Operator, Officer}, false},
	{CertificateRead, "find certificates", []Role{Operator, Officer, Auditor, Station}, false},
	{CertificateIssue, "issue a device certificate from a CSR", []Role{Operator, Station}, false},
	{ServerIssue, "issue the certificate of a TLS server from a CSR", []Role{Operator}, false},
	{RAIssue, "issue the certificate of a registration authority from a CSR", []Role{Officer}, true},
	{CertificateImport, "record certificates from before mintmark", []Role{Officer}, false},
	{CertificateRevoke, "revoke certificates, up to access.revoke_limit at once", []Role{Operator, Officer}, false},
	{BulkRevoke, "revoke more than that at once", []Role{Officer}, true},
	{DeviceRead, "find devices", []Role{Operator, Officer, Auditor, Station}, false},
	{DeviceImport, "import a device list", []Role{Operator}, false},
	{DeviceHold, "hold or release a device", []Role{Operator, Officer}, false},
	{DeviceRetire, "retire a device", []Role{Operator, Officer}, false},
	{SecretChange, "make, record or drop one-time secrets of devices", []Role{Operator}, false},
	{EnrollmentRead, "see requests that wait for approval", []Role{Operator, Officer, Auditor}, false},
	{EnrollmentDecide, "approve or reject a request that waits", []Role{Operator, Officer}, false},
	{OrderRead, "see work orders and their account", []Role{Operator, Officer, Auditor, Station}, false},
	{OrderCreate, "create a work order with its credential", []Role{Operator}, false},
	{OrderExtend, "extend the window of a work order, or give it another credential", []Role{Operator}, false},
	{OrderRaise, "raise the quantity of a work order", []Role{Operator, Officer}, true},
	{OrderClose, "close a work order", []Role{Operator, Officer}, false},
	{OrderKill, "kill a work order", []Role{Operator, Officer}, false},
	{RefusalRead, "search refusals, and see who is late to renew", []Role{Operator, Officer, Auditor}, false},
	{CloudRead, "see plans and states of clouds", []Role{Operator, Officer, Auditor}, false},
	{CloudApply, "bring clouds to the configured state", []Role{Operator, Officer}, false},
	{CloudRetire, "take CAs, groups and the certificates under them out of service at a cloud", []Role{Operator, Officer}, true},
	{PrincipalRead, "see who has which role", []Role{Officer, Auditor}, false},
	{PrincipalChange, "add or remove a principal, change roles or keys", []Role{Officer}, true},
	{PrincipalEnroll, "issue a principal's TLS certificate for its recorded key", []Role{Operator, Officer}, false},
	{HSMRead, "see how the tokens are that keys are in", []Role{Operator, Officer, Auditor}, false},
	{HSMUnlock, "unlock a token with its PIN, or one's part of it", []Role{Operator, Officer}, false},
	{HSMUnlockFinal, "the same where one more wrong PIN locks the token (--final-try)", []Role{Officer}, false},
	{ApprovalRead, "see proposals", []Role{Operator, Officer, Auditor}, false},
	{ApprovalDecide, "approve or reject what another has proposed", []Role{Officer}, false},
}

// RuleOf finds the row of an operation; ok is false for an unknown one.
func RuleOf(op Operation) (Rule, bool) {
	i := slices.IndexFunc(Table, func(r Rule) bool { return r.Operation == op })
	if i < 0 {
		return Rule{}, false
	}
	return Table[i], true
}

// Can reports whether one of the roles allows the operation.
func Can(roles []Role, op Operation) bool {
	rule, ok := RuleOf(op)
	return ok && slices.ContainsFunc(roles, func(r Role) bool { return slices.Contains(rule.Roles, r) })
}
